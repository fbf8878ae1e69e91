import { execFileSync, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export const PYTHON = fileURLToPath(new URL('../../.tools/venv/bin/python', import.meta.url));
const SCRIPT = fileURLToPath(new URL('./client_side_encryption.py', import.meta.url));

export function hasSdk(): boolean {
  try {
    execFileSync(PYTHON, ['-c', 'import azure.identity, azure.keyvault.keys, azure.storage.blob'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** What the SDK's side of the conversation starts with. */
export interface SdkPlace {
  readonly blobs: string;
  readonly container: string;
  readonly keyId: string;
  /** Private half of the key: the SDK opens as well as seals. */
  readonly pem: string;
}

export type SdkRequest =
  | { readonly do: 'write'; readonly blob: string; readonly path: string }
  | {
      readonly do: 'read';
      readonly blob: string;
      readonly offset?: number;
      readonly length?: number;
      /** As an SDK that was not told to require encryption. */
      readonly required?: false;
      /** As every SDK was until 2026: regions may come in any order. */
      readonly misordered?: true;
    };

type SdkAnswer =
  | { readonly size: number; readonly sha256: string }
  | { readonly refused: string }
  | Readonly<Record<string, never>>;

export interface Sdk {
  ask(request: SdkRequest): Promise<SdkAnswer>;
  stop(): Promise<void>;
}

/** The SDK in a process of its own, in a shell that was told of the emulator in the way of docs/foreign-clients.md. */
export function startSdk(place: SdkPlace, environment: string): Sdk {
  const child = spawn('bash', ['-c', '. "$0" && exec "$@"', environment, PYTHON, SCRIPT]);
  let complaint = '';
  child.stderr.on('data', (chunk: Buffer) => {
    complaint += chunk.toString();
  });
  const ended = new Promise<void>((done) => child.once('close', () => done()));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  child.stdin.write(`${JSON.stringify(place)}\n`);
  return {
    ask: async (request) => {
      child.stdin.write(`${JSON.stringify(request)}\n`);
      const { value, done } = await lines.next();
      if (done === true) throw new Error(`the SDK's process ended: ${complaint}`);
      return JSON.parse(value) as SdkAnswer;
    },
    stop: () => {
      child.stdin.end();
      return ended;
    },
  };
}
