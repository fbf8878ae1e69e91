import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { run } from '../../e2e/cli-process.ts';
import { change, planJson } from '../review/plans.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ctrain-infrastructure-'));
  const vault = { name: 'kv-a', public_network_access_enabled: false };
  const opened = change('azurerm_key_vault', vault, { ...vault, public_network_access_enabled: true });
  await writeFile(join(folder, 'clean.json'), JSON.stringify(planJson({})));
  await writeFile(join(folder, 'opened.json'), JSON.stringify(planJson({ changes: [opened] })));
  await writeFile(join(folder, 'state.json'), JSON.stringify({ format_version: '1.0', values: {} }));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test('review-plan ends with what a pipeline does next, in words and as JSON', async () => {
  expect(await run(folder, 'review-plan', 'clean.json')).toEqual({
    code: 0,
    out: '0 of 0 resources change, no findings\n',
    err: '',
  });
  expect(await run(folder, 'review-plan', 'opened.json')).toEqual({
    code: 10,
    out: '✗ public-path  azurerm_key_vault.This\n    public_network_access_enabled: false -> true\n1 of 1 resources change, 1 findings\n',
    err: '',
  });
  const { code, out } = await run(folder, 'review-plan', 'opened.json', '--json');
  const [finding] = JSON.parse(out).findings;
  expect([code, finding.rule, finding.address]).toEqual([10, 'public-path', 'azurerm_key_vault.This']);
});

test.each([
  [
    ['review-plan', 'state.json'],
    'state.json: found neither planned_values nor resource_changes: wanted a plan, not a state',
  ],
  [['review-plan', 'absent.json'], 'no file at absent.json'],
  [['doctor', 'absent'], 'no environment absent: environments/ has example'],
  [['teardown', 'absent'], 'no environment absent: environments/ has example'],
  [
    ['doctor', '--deployment', 'state.json'],
    'state.json is not a deployment file: wanted version 1, kind azure or emulator',
  ],
  [
    ['lock-key', '--deployment', 'state.json'],
    'state.json is not a deployment file: wanted version 1, kind azure or emulator',
  ],
])('%j is told in one line', async (args, message) => {
  expect(await run(folder, ...args)).toMatchObject({ code: 2, err: `error: ${message} [CONFIG_INVALID]\n` });
});

test('doctor and teardown say as JSON what they print', async () => {
  const doctor = JSON.parse((await run(folder, 'doctor', 'example', '--json')).out);
  expect(Object.keys(doctor)).toEqual(['environment', 'roles', 'dataPlane', 'prerequisites', 'costs', 'unknownTypes']);
  const teardown = JSON.parse((await run(folder, 'teardown', 'example', '--json')).out);
  expect(Object.keys(teardown)).toEqual(['environment', 'steps', 'remains']);
});

test('a key is locked by its command, and again', async () => {
  const { code, out } = await run(folder, 'lock-key', '--json');
  expect([code, JSON.parse(out).isNew]).toEqual([0, false]);
});
