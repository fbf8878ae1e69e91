import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startBackend } from '../../../../runtime/training/backend.ts';

export const NATIVE_DIR = fileURLToPath(new URL('../../../../.native', import.meta.url));

/** Whether `npm run setup:native` has been here. */
export const hasNative = existsSync(NATIVE_DIR);

export async function startNative(): Promise<void> {
  await startBackend({ wasmDir: '', nativeDir: NATIVE_DIR, backend: 'native' });
}

export async function startWasm(): Promise<void> {
  const wasm = import.meta.resolve('@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-simd.wasm');
  await startBackend({ wasmDir: dirname(fileURLToPath(wasm)), backend: 'wasm' });
}
