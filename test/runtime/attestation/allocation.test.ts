import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { beforeAll, expect, test } from 'vitest';

interface Allocation {
  readonly name: string;
  /** Bytes of the input. */
  readonly input: number;
  /** Bytes of the buffers that parsing it made. */
  readonly allocated: number;
}

/** No garbage is collected before 64 MiB of objects, and no parser gets more than 256 MiB, whatever it asks for. */
const FLAGS = ['--min-semi-space-size=64', '--max-semi-space-size=64', '--max-old-space-size=256'];
const CHILD = fileURLToPath(new URL('./allocation-child.ts', import.meta.url));

let allocations: readonly Allocation[];

beforeAll(async () => {
  const { stdout } = await promisify(execFile)(process.execPath, [...FLAGS, CHILD]);
  allocations = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Allocation);
}, 120_000);

const tooMuch = ({ input, allocated }: Allocation): boolean => allocated > 4 * input + 65_536;

test('a parser that trusted a size would be seen', () => {
  expect(allocations.filter(tooMuch).map(({ name }) => name)).toContain('control');
});

test('no size in an input makes a parser allocate more than a few times the input', () => {
  const parsers = allocations.filter(({ name }) => name !== 'control');
  expect(parsers.length).toBeGreaterThan(25);
  expect(parsers.filter(tooMuch)).toEqual([]);
});
