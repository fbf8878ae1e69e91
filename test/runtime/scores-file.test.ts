import { expect, test } from 'vitest';
import { utf8 } from '../../runtime/crypto/bytes.ts';
import { parseScores, releasedScores } from '../../runtime/scores-file.ts';

const TEST = [
  [3, 1],
  [0, 2],
];
const VALIDATION = [
  [1, 0],
  [0, 1],
];
const measured = { test: TEST, validation: VALIDATION };

test.each([
  [['test_confusion'], { test: TEST }],
  [['loss', 'validation_confusion', 'test_confusion'], measured],
])('of counts leaves what %j names', (metrics, splits) => {
  const bytes = releasedScores(measured, { metrics });
  expect(parseScores(bytes ?? new Uint8Array())).toEqual({ version: 1, salt: expect.any(String), splits });
});

test('nothing leaves that is not named, or was not measured', () => {
  expect(releasedScores(measured, { metrics: ['test_accuracy', 'confusion', 'test_macro_f1'] })).toBeUndefined();
  expect(releasedScores({ test: TEST }, { metrics: ['validation_confusion'] })).toBeUndefined();
});

test('two files of the same counts have different digests: the receipt tells no counts', () => {
  const metrics = ['test_confusion'];
  expect(releasedScores(measured, { metrics })).not.toEqual(releasedScores(measured, { metrics }));
});

const salt = `${'A'.repeat(43)}=`;
test.each([
  [
    'another split',
    { version: 1, salt, splits: { train: TEST } },
    'splits.train: wanted validation or test as its name',
  ],
  [
    'a matrix that is not square',
    { version: 1, salt, splits: { test: [[1, 2]] } },
    'splits.test: its rows are not as long',
  ],
  ['a count below 0', { version: 1, salt, splits: { test: [[-1]] } }, 'splits.test[0][0]: found -1'],
  ['no salt', { version: 1, splits: {} }, 'salt: found nothing'],
])('refuses %s', (_, value, message) => {
  expect(() => parseScores(utf8(JSON.stringify(value)))).toThrow(
    expect.objectContaining({ code: 'EVIDENCE_MALFORMED', message: expect.stringContaining(message) }),
  );
});
