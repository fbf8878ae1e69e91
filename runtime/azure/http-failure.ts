import { isRestError, type RestError } from '@azure/core-rest-pipeline';
import { type ErrorCode, SecureTrainingError } from '../errors.ts';

export interface HttpFailureOptions {
  /** @default - there was no answer */
  readonly status?: number | undefined;
  /** The service's own word for it, for example `BlobAlreadyExists`. */
  readonly serviceCode?: string | undefined;
  /** What the service asked to be waited. */
  readonly retryAfterInMs?: number | undefined;
  /** @default - by status; true when there was no answer */
  readonly retryable?: boolean;
}

/** Statuses that a later attempt may change. 401, 403 and 404 are decisions, not accidents. */
const RETRYABLE_STATUS: ReadonlySet<number | undefined> = new Set([408, 429, 500, 502, 503, 504]);

/** Why an attempt brought nothing. Carries no request: an SDK's error would bring tokens along as its cause. */
export class HttpFailure extends Error {
  override readonly name = 'HttpFailure';
  readonly status: number | undefined;
  readonly serviceCode: string | undefined;
  readonly retryAfterInMs: number | undefined;
  readonly retryable: boolean;

  constructor(message: string, options: HttpFailureOptions = {}) {
    super(message);
    this.status = options.status;
    this.serviceCode = options.serviceCode;
    this.retryAfterInMs = options.retryAfterInMs;
    this.retryable = options.retryable ?? (options.status === undefined || RETRYABLE_STATUS.has(options.status));
  }
}

/** The failure in whatever an SDK or Node threw; `undefined` for anything that is not about a request. */
export function httpFailure(error: unknown): HttpFailure | undefined {
  if (error instanceof HttpFailure) return error;
  if (error instanceof SecureTrainingError || !(error instanceof Error)) return undefined;
  if (isRestError(error)) return error.statusCode === undefined ? noAnswer(error) : answered(error);
  if (error.name === 'AbortError' || error.name === 'TimeoutError') return new HttpFailure('no answer in time');
  return SOCKET_ERROR.test((error as NodeJS.ErrnoException).code ?? '') ? noAnswer(error) : undefined;
}

const SOCKET_ERROR = /^(E[A-Z]+|ERR_STREAM_PREMATURE_CLOSE|ERR_TLS_.*|.*CERT.*|UNABLE_TO_.*)$/;
/** A certificate does not become valid by asking again. */
const UNTRUSTED = /CERT|SELF_SIGNED|UNABLE_TO_(GET|VERIFY)|ERR_TLS/;

function noAnswer(error: Error & { code?: string }): HttpFailure {
  const code = error.code ?? 'no answer';
  const refused = UNTRUSTED.test(code);
  return new HttpFailure(refused ? `certificate refused: ${code}` : `no answer: ${code}`, { retryable: !refused });
}

function answered(error: RestError): HttpFailure {
  const details = (error.details ?? {}) as { errorCode?: string; code?: string };
  const serviceCode = error.code ?? details.errorCode ?? details.code;
  return statusFailure(
    error.statusCode ?? 0,
    serviceCode,
    firstLine(error.message),
    error.response?.headers.get('retry-after'),
  );
}

/** @param retryAfter value of the header of that name: seconds or an HTTP date (RFC 9110 section 10.2.3) */
export function statusFailure(
  status: number,
  serviceCode: string | undefined,
  message: string | undefined,
  retryAfter: string | undefined,
): HttpFailure {
  const words = [`status ${status}`, serviceCode, message].filter((word) => word !== undefined && word !== '');
  return new HttpFailure(words.join(', '), { status, serviceCode, retryAfterInMs: retryAfterInMs(retryAfter) });
}

export interface FailureCodes {
  /** For 400, 401 and 403. */
  readonly denied: ErrorCode;
}

/**
 * What the caller of a service is told. A decision of the service becomes the code that the caller states, a missing
 * thing or a conflict is the input's fault, and the rest may pass.
 */
export function toServiceError(what: string, error: unknown, codes: FailureCodes): unknown {
  const failure = httpFailure(error);
  if (failure === undefined) return error;
  const { status } = failure;
  const decided = status === 400 || status === 401 || status === 403;
  const code = decided ? codes.denied : failure.retryable || status === undefined ? 'UNAVAILABLE' : 'CONFIG_INVALID';
  return new SecureTrainingError(code, `${what}: ${failure.message}`, { failures: [failure.message] });
}

/** Services quote the request now and then: never a token in a message. */
export function firstLine(text: string): string {
  return (text.split('\n', 1)[0] ?? '').replace(/eyJ[\w-]+(\.[\w-]+)*/g, '(token)').slice(0, 300);
}

function retryAfterInMs(header: string | undefined): number | undefined {
  if (header === undefined) return undefined;
  const seconds = Number(header);
  if (Number.isFinite(seconds)) return Math.max(0, seconds * 1000);
  const date = Date.parse(header);
  return Number.isNaN(date) ? undefined : Math.max(0, date - Date.now());
}
