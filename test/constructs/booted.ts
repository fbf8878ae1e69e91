import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cloudConfig } from '../../constructs/boot.ts';

export const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

/** What a machine boots from, in a folder, and the configuration that names it. */
export function bootSource(root: string) {
  const bundleFolder = join(root, 'source');
  mkdirSync(bundleFolder);
  writeFileSync(join(bundleFolder, 'main.mjs'), 'trainer');
  execFileSync('tar', ['--create', '--file', join(root, 'trainer.tar'), '--directory', bundleFolder, 'main.mjs']);
  const bundle = readFileSync(join(root, 'trainer.tar'));
  const node = Buffer.from('node');
  const options = {
    vmResourceId: '/subscriptions/s/vm',
    identityClientId: 'client',
    blobEndpoint: 'https://sttest.blob.core.windows.net',
    bundleSha256: sha256(bundle),
    nodeSha256: sha256(node),
    logs: { endpoint: 'https://dce', ruleId: 'dcr' },
    hosts: { 'sttest.blob.core.windows.net': '10.9.0.254', 'dce.ingest.monitor.azure.com': '' },
  };
  return { bundle, node, options, config: cloudConfig(options) };
}

/** Content of a file that cloud-init writes. */
export function written(config: ReturnType<typeof cloudConfig>, path: string): string {
  const files = config.write_files as readonly { readonly path: string; readonly content: string }[];
  return files.find((file) => file.path === path)?.content ?? '';
}

export interface Booting {
  readonly config: ReturnType<typeof cloudConfig>;
  /** What the store has. */
  readonly blobs: Readonly<Record<string, Uint8Array>>;
  /** What curl ends with, attempt by attempt, before it succeeds; the boot is cut off when it waits after the last one. */
  readonly failures?: readonly number[];
  /** @default - it goes on until it succeeds */
  readonly cutOff?: boolean;
  /** Commands that fail, with their exit code. */
  readonly broken?: Readonly<Record<string, number>>;
  /** @default true */
  readonly identity?: boolean;
}

/**
 * Runs the boot script of the cloud-init data in a folder of its own instead of the machine's places, where a program
 * answers as the metadata address and the store do.
 */
export function bootIn(
  root: string,
  { config, blobs, failures = [], cutOff = false, broken = {}, identity = true }: Booting,
) {
  const at = mkdtempSync(join(root, 'run-'));
  mkdirSync(join(at, 'bin'));
  mkdirSync(join(at, 'blobs'));
  writeFileSync(join(at, 'serial'), '');
  for (const [name, bytes] of Object.entries(blobs)) writeFileSync(join(at, 'blobs', name), bytes);
  writeFileSync(join(at, 'failures'), failures.map((code) => `${code}\n`).join(''));
  const program = (name: string, text: string) => writeFileSync(join(at, 'bin', name), text, { mode: 0o755 });
  program(
    'curl',
    `#!/bin/sh
for last in "$@"; do [ "$previous" = --output ] && to=$last; previous=$last; done
case "$last" in
  http://169.254.169.254/*) ${identity ? `echo '{"access_token":"secret-token"}'; exit 0` : 'exit 22'};;
esac
grep -q 'Bearer secret-token' || exit 99
code=$(head -n 1 ${at}/failures)
sed -i 1d ${at}/failures
[ -n "$code" ] && exit "$code"
cp "${at}/blobs/\${last##*/}" "$to"
`,
  );
  // Waits are where a boot that cannot go on is cut off.
  program('sleep', `#!/bin/sh\n${cutOff ? `[ -s ${at}/failures ] || kill $PPID` : ':'}\n`);
  for (const [name, code] of Object.entries(broken)) program(name, `#!/bin/sh\nexit ${code}\n`);
  const script = written(config, '/usr/local/sbin/ctrain-fetch')
    .replaceAll('/opt/ctrain', join(at, 'opt'))
    .replaceAll('> /dev/ttyS0', `>> ${join(at, 'serial')}`);
  const { status } = spawnSync('sh', ['-c', script], {
    env: { PATH: `${join(at, 'bin')}:${process.env.PATH}` },
    stdio: 'ignore',
  });
  return { at, status, serial: readFileSync(join(at, 'serial'), 'utf8').trim().split('\n') };
}
