import { statusFailure } from '../../runtime/azure/http-failure.ts';
import { type HttpRequest, type Network, send } from '../../runtime/azure/network.ts';
import { withRetry } from '../../runtime/azure/retry.ts';

/** One request and its answer as a file keeps them: bodies are the text as sent and received, headers of the request are left out. */
export interface Exchange {
  readonly request: { readonly method: string; readonly url: string; readonly body?: string };
  readonly answer: {
    readonly status: number;
    readonly headers: Readonly<Record<string, string>>;
    readonly body: string;
  };
  /** The token in the answer, opened by the vTPM. */
  readonly token?: string;
  /** Whether the release in the answer opened inside the vTPM; else every check it failed. The key itself is not kept. */
  readonly opened?: { readonly nonceEchoed: boolean } | { readonly failures: readonly string[] };
}

/** Headers that say something of the service; the rest names machines and times. */
const KEPT_HEADERS = /^(content-type|retry-after|www-authenticate|x-ms-(error-code|keyvault-.*|maa-.*))$/;

/**
 * Asks once, and again while the service is away or throttles. Any other status is an answer, refusals above all.
 * @param bearer goes into the request and nowhere else
 * @throws {@link SecureTrainingError} `UNAVAILABLE` when no answer came but 408, 429 or 5xx
 */
export async function exchange(
  network: Network,
  what: string,
  request: { readonly method: HttpRequest['method']; readonly url: string; readonly body?: object },
  bearer?: string,
): Promise<Exchange> {
  const { method, url } = request;
  const body = request.body === undefined ? {} : { body: JSON.stringify(request.body) };
  const headers = {
    ...(request.body === undefined ? {} : { 'content-type': 'application/json' }),
    ...(bearer === undefined ? {} : { authorization: `Bearer ${bearer}` }),
    ...(url.startsWith('http://') ? { metadata: 'true' } : {}),
  };
  const response = await withRetry(
    what,
    async () => {
      const answer = await send(network, { method, url, headers, ...body });
      const failure = statusFailure(answer.status, undefined, undefined, answer.headers['retry-after']);
      if (failure.retryable) throw failure;
      return answer;
    },
    network.retry,
  );
  const kept = Object.entries(response.headers).filter(([name]) => KEPT_HEADERS.test(name));
  return {
    request: { method, url, ...body },
    answer: {
      status: response.status,
      headers: Object.fromEntries(kept),
      body: new TextDecoder().decode(response.body),
    },
  };
}

/** Azure's `{"error":{"code","message"}}` as one line; empty for anything else. */
export function refusalText({ answer }: Exchange): string {
  try {
    const { error } = JSON.parse(answer.body) as { error?: { code?: unknown; message?: unknown } };
    return [error?.code, error?.message].filter((word) => typeof word === 'string').join(': ');
  } catch {
    return '';
  }
}
