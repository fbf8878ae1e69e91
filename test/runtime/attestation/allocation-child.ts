/**
 * Prints how many bytes each parser allocates for inputs whose sizes lie: one JSON line a parser, `{name, input, allocated}`
 * of its worst input. A process of its own, whose young generation is never collected: the figures are sums, not balances.
 */
import { memoryUsage } from 'node:process';
import { pathsOf, replaceAt } from '../hostile-json.ts';
import { type ParserRow, parserTable } from './parser-table.ts';

/** Small enough to be quick, large enough to show: a parser that trusts a size would ask for all of it. */
const CONTROL_MOST = 1 << 24;
const control: ParserRow = {
  good: new Uint8Array(16),
  covers: [],
  parse: (bytes) => new Uint8Array(Math.min(new DataView(bytes.buffer).getUint32(4), CONTROL_MOST)),
};

// Node hands small buffers out of one of 64 KiB: a parse must not be charged for what others will use.
Buffer.poolSize = 0;
for (const [name, row] of Object.entries({ ...(await parserTable()), control })) {
  let worst = { input: row.good.length, allocated: 0 };
  for (const input of hostile(row)) {
    const before = memoryUsage().arrayBuffers;
    try {
      await row.parse(input);
    } catch {
      // What it is refused with is parsers.property.test.ts's to see.
    }
    const allocated = memoryUsage().arrayBuffers - before;
    if (allocated - 4 * input.length > worst.allocated - 4 * worst.input) worst = { input: input.length, allocated };
  }
  console.log(JSON.stringify({ name, ...worst }));
}

/** The good input, and with ones wherever a size could stand: in its bytes, or as a number or list in its JSON. */
function* hostile({ good, json, covers }: ParserRow): Generator<Uint8Array> {
  yield good;
  if (json !== undefined) {
    for (const path of pathsOf(json.value)) {
      for (const instead of [2 ** 32 - 1, Number.MAX_SAFE_INTEGER, { length: 2 ** 32 - 1 }]) {
        yield json.pack(JSON.stringify(replaceAt(json.value, path, instead)));
      }
    }
    return;
  }
  // A row that covers no parser of its own runs others, and takes a thousand times as long.
  const step = covers === undefined ? 16 : 1;
  for (let at = 0; at < good.length; at += step) {
    for (const width of [2, 4]) {
      const bytes = Uint8Array.from(good);
      bytes.fill(0xff, at, at + width);
      yield bytes;
    }
  }
}
