import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { TableName } from '../../runtime/catalogue.ts';
import { LogDelivery, type LogRow } from '../../runtime/log-delivery.ts';

/** A log service in memory: `answers` says of each call whether it is taken, refused, or taken and its answer lost. */
type Answer = 'taken' | 'refused' | 'lost';

function service(answers: readonly Answer[], maximumRows?: number) {
  const stored: { table: TableName; row: LogRow }[] = [];
  const calls: TableName[] = [];
  const gates: (() => void)[] = [];
  const delivery = new LogDelivery({
    send: async (table, rows) => {
      const answer = answers[calls.length] ?? 'taken';
      calls.push(table);
      await Promise.resolve();
      if (answer !== 'refused') for (const row of rows) stored.push({ table, row });
      if (answer !== 'taken') throw new Error('no answer');
    },
    pause: () => Promise.resolve(),
    gather: () => new Promise<void>((resolve) => gates.push(resolve)),
    ...(maximumRows === undefined ? {} : { maximumRows }),
  });
  return { delivery, stored, calls, gates };
}

const rows = (count: number, from = 0): LogRow[] => Array.from({ length: count }, (_, i) => ({ id: from + i }));
const ids = (stored: readonly { table: TableName; row: LogRow }[], table: TableName) =>
  stored.filter((each) => each.table === table).map(({ row }) => row.id);

test('an event goes at once and takes along what waits; metrics wait for company', async () => {
  const { delivery, stored, gates } = service([]);
  delivery.add('TrainingMetrics', rows(1));
  delivery.add('TrainingMetrics', rows(1, 1));
  await Promise.resolve();
  expect(stored).toEqual([]);
  delivery.add('TrainingSecurity', rows(1));
  expect(await delivery.flush()).toBe(0);
  expect(stored.map(({ table }) => table)).toEqual(['TrainingSecurity', 'TrainingMetrics', 'TrainingMetrics']);
  expect(gates).toHaveLength(1);
});

test('metrics alone go once they have waited', async () => {
  const { delivery, calls, gates } = service([]);
  delivery.add('TrainingMetrics', rows(3));
  for (const open of gates) open();
  await expect.poll(() => delivery.pending).toBe(0);
  expect(calls).toEqual(['TrainingMetrics']);
});

test('nothing is lost, and each table keeps its order, whatever the service does while a run lasts', async () => {
  const answer = fc.constantFrom<Answer>('taken', 'refused', 'lost');
  const addition = fc.tuple(
    fc.constantFrom<TableName>('TrainingMetrics', 'TrainingSecurity'),
    fc.integer({ min: 0, max: 5 }),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(answer, { maxLength: 30 }),
      fc.array(addition, { maxLength: 20 }),
      async (answers, adds) => {
        const { delivery, stored, gates } = service(answers);
        const sent: Record<TableName, number> = { TrainingMetrics: 0, TrainingSecurity: 0 };
        for (const [table, count] of adds) {
          delivery.add(table, rows(count, sent[table]));
          sent[table] += count;
          await Promise.resolve();
        }
        for (const open of gates) open();
        // A flush that gives up is asked again, as time would.
        for (let i = 0; i < 40 && (await delivery.flush()) > 0; i++);
        expect(delivery.pending).toBe(0);
        for (const table of ['TrainingMetrics', 'TrainingSecurity'] as const) {
          const unique = [...new Set(ids(stored, table))];
          expect(unique).toEqual(rows(sent[table]).map(({ id }) => id));
        }
      },
    ),
  );
});

test('at the end it gives up after three attempts, and says how many rows that costs', async () => {
  const { delivery, calls } = service(Array<Answer>(100).fill('refused'));
  delivery.add('TrainingSecurity', rows(4));
  expect(await delivery.flush()).toBe(4);
  expect(calls.length).toBeLessThanOrEqual(4);
  expect(delivery.dropped).toBe(0);
});

test('memory is bounded: metrics are given up before events, old ones before new ones', async () => {
  const { delivery, stored, gates } = service([], 10);
  delivery.add('TrainingMetrics', rows(8));
  delivery.add('TrainingSecurity', rows(6));
  for (const open of gates) open();
  expect(delivery.dropped).toBe(4);
  expect(await delivery.flush()).toBe(0);
  expect(ids(stored, 'TrainingSecurity')).toEqual([0, 1, 2, 3, 4, 5]);
  expect(ids(stored, 'TrainingMetrics')).toEqual([4, 5, 6, 7]);
});
