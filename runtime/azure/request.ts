import type { TokenCredential } from '@azure/core-auth';
import { type ErrorCode, SecureTrainingError } from '../errors.ts';
import { firstLine, statusFailure, toServiceError } from './http-failure.ts';
import { type HttpRequest, type HttpResponse, type Network, send } from './network.ts';
import { withRetry } from './retry.ts';

export interface ServiceRequest extends HttpRequest {
  /** What is being done, for messages: `start vm-trainer-0`. */
  readonly what: string;
  /** Code of the error for 400, 401 and 403. */
  readonly denied: ErrorCode;
  /**
   * Identity and scope of the bearer token.
   * @default - sent without a token
   */
  readonly as?: { readonly credential: TokenCredential; readonly scope: string };
  /**
   * Statuses that are fine, beside 2xx.
   * @default []
   */
  readonly accepted?: readonly number[];
}

/**
 * A request of our own, with token, retries and errors mapped; only a 2xx or an accepted status is returned.
 * @throws {@link SecureTrainingError} `denied`, `CONFIG_INVALID` (404 and conflicts), `UNAVAILABLE`
 */
export async function request(network: Network, options: ServiceRequest): Promise<HttpResponse> {
  const { what, denied, as, accepted = [], abortSignal } = options;
  const attempt = async (): Promise<HttpResponse> => {
    const token =
      as === undefined
        ? undefined
        : await as.credential.getToken(as.scope, abortSignal === undefined ? {} : { abortSignal });
    const authorization = token === undefined || token === null ? {} : { authorization: `Bearer ${token.token}` };
    const response = await send(network, { ...options, headers: { ...options.headers, ...authorization } });
    if (Math.floor(response.status / 100) === 2 || accepted.includes(response.status)) return response;
    const { code, message } = errorBody(response.body);
    throw statusFailure(
      response.status,
      code ?? response.headers['x-ms-error-code'],
      message,
      response.headers['retry-after'],
    );
  };
  try {
    return await withRetry(what, attempt, { ...network.retry, abortSignal });
  } catch (error) {
    throw toServiceError(what, error, { denied });
  }
}

/** @throws {@link SecureTrainingError} `code` when the body is not JSON */
export function parseJson(what: string, response: HttpResponse, code: ErrorCode): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(response.body));
  } catch {
    throw new SecureTrainingError(code, `${what}: the reply is not JSON`);
  }
}

/** Azure's `{"error":{"code","message"}}`, or the metadata service's `{"error","error_description"}`. */
function errorBody(body: Uint8Array): { code?: string; message?: string } {
  try {
    const { error, error_description } = JSON.parse(new TextDecoder().decode(body)) as Record<string, unknown>;
    if (typeof error === 'string') {
      return {
        code: error,
        ...(typeof error_description === 'string' ? { message: firstLine(error_description) } : {}),
      };
    }
    const { code, message } = error as Record<string, unknown>;
    return {
      ...(typeof code === 'string' ? { code } : {}),
      ...(typeof message === 'string' ? { message: firstLine(message) } : {}),
    };
  } catch {
    return {};
  }
}
