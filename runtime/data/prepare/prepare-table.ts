import { utf8 } from '../../crypto/bytes.ts';
import type { DatasetSchema } from '../../statements/manifest.ts';
import type { AtomicFile } from '../atomic-file.ts';
import { type Learned, Learner, nothingLearned, type RowCoder, rowCoder } from './coding.ts';
import { type ColumnPlan, planColumns } from './columns.ts';
import { areValues, LabelReader } from './labels.ts';
import { FeatureStatistics } from './normalise.ts';
import { openTable } from './open-table.ts';
import type { PrepareSettings, TableType } from './options.ts';
import { ReportCollector } from './report.ts';
import type { CheckedRow } from './row-reader.ts';
import { ClassShares, type Splitter, shareSplitter } from './split.ts';
import { type Findings, openArrowSplits, openTextSplits, type Published, publish, using } from './split-files.ts';
import { type Pass, type PassCounts, tablePasses } from './table-passes.ts';

/**
 * Prepares a table in one pass; in one more each for Arrow (whose type and classes must be known before its first row), for equal
 * shares of every class, and for what must be learnt from the train split first: means for missing numbers, and categories.
 */
export async function prepareTable(
  settings: PrepareSettings,
  type: TableType,
  rejected: AtomicFile | undefined,
): Promise<Published> {
  const { inputPath, outputDir, outputFormat } = settings;
  const table = await openTable(inputPath, type);
  const plan = planColumns(table.columns, settings);
  const labelName = table.columns[plan.label] ?? '';
  const labels = new LabelReader(settings.classes);
  const learns = settings.missing.kind === 'mean' || settings.categorical.length > 0;
  const count = 1 + Number(settings.stratify) + Number(learns) + Number(outputFormat === 'arrow');
  const pass = tablePasses(settings, type, table, plan, labels, count);

  const splitOf = settings.stratify ? await learnShares(pass, settings) : shareSplitter(settings.split);
  const learned = learns ? await learn(pass, splitOf, plan, settings) : nothingLearned(plan, settings.missing);
  const coder = rowCoder(plan, labelName, settings.coding, learned);
  const scan = new Scan(splitOf, coder, plan, !areValues(settings.classes));
  const findings = (counts: PassCounts): Findings => ({
    about: {
      name: settings.name,
      seed: settings.seed,
      schema: {
        columns: coder.columns,
        featureCount: coder.columns.length,
        dtype: scan.statistics.dtype,
        label: labelName,
        classes: labels.classes(`${inputPath}, column ${labelName}`),
        normalisation: scan.statistics.normalisation(settings.normalisation),
        ...codingOf(settings, plan, learned),
      } satisfies DatasetSchema,
      preparation: { type, ...counts, ...preparationOf(settings) },
    },
    report: (description) =>
      scan.report.finish(description, { ...counts, missing: coder.sources.map((source) => scan.missing[source] ?? 0) }),
    rejected,
  });
  const reject = rejected === undefined ? {} : { rejected: (lines: readonly string[]) => writeLines(rejected, lines) };

  if (outputFormat !== 'arrow') {
    return using(await openTextSplits(outputDir, outputFormat, coder.header), async (files) => {
      const row = (checked: CheckedRow, position: number) => {
        const { split, features } = scan.add(checked, position);
        return files.add(split, coder.line(checked, features));
      };
      return publish(outputDir, files, findings(await pass({ row, ...reject })));
    });
  }
  const found = findings(await pass({ row: (row, position) => void scan.add(row, position), ...reject }));
  const { dtype, classes } = found.about.schema;
  const classIndex = new Map(classes.map((name, i) => [name, i]));
  return using(await openArrowSplits(outputDir, dtype, coder.columns.length), async (files) => {
    await pass({
      row: (row, position) =>
        files.add(splitOf(position, row.label), coder.features(row), classIndex.get(row.label) ?? 0),
    });
    return publish(outputDir, files, found);
  });
}

/** Everything that is found out about rows on the way. */
class Scan {
  readonly statistics: FeatureStatistics;
  readonly report: ReportCollector;
  /** By feature of the plan: rows without a value. */
  readonly missing: number[];
  readonly #splitOf: Splitter;
  readonly #coder: RowCoder;
  readonly #plan: ColumnPlan;
  readonly #countsLabels: boolean;

  /** @param countsLabels false where they are values: as many different ones as rows */
  constructor(splitOf: Splitter, coder: RowCoder, plan: ColumnPlan, countsLabels: boolean) {
    this.#countsLabels = countsLabels;
    this.statistics = new FeatureStatistics(coder.columns.length);
    this.report = new ReportCollector(coder.columns);
    this.missing = plan.features.map(() => 0);
    this.#splitOf = splitOf;
    this.#coder = coder;
    this.#plan = plan;
  }

  add(row: CheckedRow, position: number) {
    const split = this.#splitOf(position, row.label);
    const features = this.#coder.features(row);
    this.statistics.add(features, split === 'train');
    this.report.add(split, this.#countsLabels ? row.label : '', features);
    if (row.isIncomplete) {
      this.#plan.features.forEach(({ isCategorical }, i) => {
        if (isCategorical ? row.names[i] === '' : Number.isNaN(row.numbers[i]))
          this.missing[i] = (this.missing[i] ?? 0) + 1;
      });
    }
    return { split, features };
  }
}

async function learnShares(pass: Pass, { split }: PrepareSettings): Promise<Splitter> {
  const shares = new ClassShares();
  await pass({ row: ({ label }, position) => void shares.add(position, label) });
  return shares.splitter(split);
}

async function learn(pass: Pass, splitOf: Splitter, plan: ColumnPlan, settings: PrepareSettings): Promise<Learned> {
  const learner = new Learner(settings.inputPath, plan);
  await pass({
    row: (row, position) => {
      if (splitOf(position, row.label) === 'train') learner.add(row);
      return undefined;
    },
  });
  return learner.learned(settings.missing);
}

async function writeLines(file: AtomicFile, lines: readonly string[]): Promise<void> {
  if (lines.length > 0) await file.write(utf8(`${lines.join('\n')}\n`));
}

/** What a model needs to know for rows that come as these did: part of what is signed, unlike the rest of what was done to them. */
function codingOf(
  { coding, missing }: PrepareSettings,
  { features }: ColumnPlan,
  learned: Learned,
): Pick<DatasetSchema, 'coding'> {
  const named = features.flatMap(({ name, isCategorical }, i) =>
    isCategorical ? [[name, learned.categories[i] ?? []] as const] : [],
  );
  const isFilled = missing.kind === 'mean' || missing.kind === 'constant';
  const filled = features.flatMap(({ name, isCategorical }, i) =>
    isFilled && !isCategorical ? [[name, learned.fill[i] ?? 0] as const] : [],
  );
  if (named.length + filled.length === 0) return {};
  return { coding: { names: coding, categories: Object.fromEntries(named), fill: Object.fromEntries(filled) } };
}

/** What was done to the rows, in `dataset.json`; only what was asked for. */
function preparationOf(settings: PrepareSettings): Record<string, unknown> {
  const { split, missing, drop, group, stratify } = settings;
  const ranges = Object.entries(settings.ranges).map(([name, { minimum, maximum }]) => [
    name,
    // JSON has no infinity.
    [minimum, maximum].map((end) => (Number.isFinite(end) ? end : 'any')),
  ]);
  return {
    split,
    missing: missing.kind,
    ...(drop.length > 0 ? { dropped: drop } : {}),
    ...(group === undefined ? {} : { group }),
    ...(stratify ? { stratified: true } : {}),
    ...(ranges.length > 0 ? { ranges: Object.fromEntries(ranges) } : {}),
  };
}
