import { metricHistoryName, parseMetricHistory } from '../../runtime/metric-history.ts';
import { readStatus } from '../../runtime/queue.ts';
import type { Context } from '../context.ts';
import { runStore } from '../run/submit.ts';
import { eventTail } from './event-tail.ts';
import type { RunSnapshot } from './run-view.ts';

/** Reads what a run tells of itself, again with each call. */
export function runReader(context: Context, runId: string): () => Promise<RunSnapshot> {
  const runs = runStore(context);
  const events = eventTail(context.deployment.emulator?.logs.trainer, runId);
  return async () => {
    const status = await readStatus(runs, runId);
    const blob = await runs.get(metricHistoryName(runId));
    const metrics = blob === undefined ? [] : parseMetricHistory(blob.bytes, metricHistoryName(runId));
    return { runId, status, metrics, events: await events(), at: new Date() };
  };
}
