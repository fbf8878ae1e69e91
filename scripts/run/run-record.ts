import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { BlobStore } from '../../runtime/data/blob-store.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { metricHistoryName, parseMetricHistory } from '../../runtime/metric-history.ts';
import { checkRunId, readBlob, readStatus } from '../../runtime/queue.ts';
import { verifyAgreement } from '../../runtime/statements/agreement.ts';
import { parseReceipt } from '../../runtime/statements/receipt.ts';
import type { TrainingConfig } from '../../runtime/training-config.ts';
import { CARD_FILE, type ModelCard, type RunKind, readModelCard } from '../model/card-file.ts';

/** What two runs are compared by, wherever they ran. */
export interface RunRecord {
  readonly runId: string;
  readonly kind: RunKind;
  readonly state: string;
  /** From the start of the training to its end; absent while it lasts. */
  readonly seconds?: number;
  readonly configuration: TrainingConfig;
  /** Datasets as `NAME VERSION DIGEST`. */
  readonly data: readonly string[];
  /** Those that the agreement lets out; the last values there are. */
  readonly metrics: Readonly<Record<string, number>>;
}

/** Cards of the models on this disk: of runs of any kind, also in deployments that are no more. */
export async function readCards(modelsDir: string): Promise<readonly ModelCard[]> {
  const folders = await readdir(modelsDir, { withFileTypes: true }).catch(() => []);
  const cards: ModelCard[] = [];
  for (const folder of folders) {
    const path = join(modelsDir, folder.name);
    if (folder.isDirectory() && (await readdir(path)).includes(CARD_FILE)) cards.push(await readModelCard(path));
  }
  return cards.sort((a, b) => (a.startedOn < b.startedOn ? -1 : 1));
}

export function recordOfCard(card: ModelCard): RunRecord {
  return {
    runId: card.runId,
    kind: card.kind,
    state: 'finished',
    seconds: secondsBetween(card.startedOn, card.finishedOn),
    configuration: card.configuration,
    data: card.data.map(({ dataset, version, digest }) => `${dataset} ${version} ${digest.slice(0, 12)}`),
    metrics: card.metrics,
  };
}

/**
 * A run as its folder in the store shows it.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` when there is none
 */
export async function readRunRecord(runs: BlobStore, runId: string, kind: RunKind): Promise<RunRecord> {
  checkRunId(runId);
  const bytes = await runs.get(`${runId}/agreement.dsse.json`);
  if (bytes === undefined)
    throw new SecureTrainingError(
      'CONFIG_INVALID',
      `found no run ${runId}, and no model card of it: see 'ctrain runs'`,
    );
  const { agreement } = verifyAgreement(bytes.bytes);
  const state = (await readStatus(runs, runId))?.state ?? 'queued';
  const data = agreement.owners.flatMap(({ datasets }) =>
    datasets.map(({ dataset, version, manifestDigest }) => `${dataset} ${version} ${manifestDigest.slice(0, 12)}`),
  );
  const common = { runId, kind, state, configuration: agreement.configuration, data };
  if (state !== 'finished') return { ...common, metrics: await newestMetrics(runs, runId) };
  const { content } = parseReceipt(await readBlob(runs, `${runId}/receipt.dsse.json`));
  return { ...common, seconds: secondsBetween(content.startedOn, content.finishedOn), metrics: content.metrics };
}

async function newestMetrics(runs: BlobStore, runId: string): Promise<Record<string, number>> {
  const blob = await runs.get(metricHistoryName(runId));
  const points = blob === undefined ? [] : parseMetricHistory(blob.bytes, metricHistoryName(runId));
  return Object.fromEntries(points.map(({ name, value }) => [name, value]));
}

function secondsBetween(start: string, end: string): number {
  return (Date.parse(end) - Date.parse(start)) / 1000;
}
