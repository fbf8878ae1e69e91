/** What may compute, the best first; imported by the broker too, which has no tfjs. */
export const BACKENDS = ['native', 'wasm', 'cpu'] as const;
export type BackendName = (typeof BACKENDS)[number];

export function isBackendName(value: unknown): value is BackendName {
  return BACKENDS.some((name) => name === value);
}
