import { extname } from 'node:path';
import { Command } from 'commander';
import { utf8 } from '../../runtime/crypto/bytes.ts';
import { openAtomic } from '../../runtime/data/atomic-file.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { readOpenedModel } from '../model/opened-model.ts';
import { count } from '../progress.ts';
import { classNames, type Prediction, predictionHeader, predictionLine, predictRows } from '../run/predict.ts';

interface PredictFlags {
  readonly model: string;
  readonly input: string;
  readonly output?: string;
  readonly json?: boolean;
}

export function predictCommand(): Command {
  return new Command('predict')
    .description('give new rows their classes, with a model that open-model opened')
    .requiredOption('-m, --model <folder>', "what 'ctrain open-model' left")
    .requiredOption(
      '-i, --input <file>',
      'csv file with the columns that the model was trained on, or arrow file of prepare-data',
    )
    .option('-o, --output <file>', 'csv or json file (default: csv to the terminal)')
    .option('--json', 'JSON instead of csv')
    .addHelpText(
      'after',
      `
Examples:
  $ ctrain predict --model models/run-1 --input rows.csv
  $ ctrain predict --model models/run-1 --input rows.csv --output predictions.json

Columns, codes of names, what stands for a missing number, and normalisation are those of the training: they came with the model.
It is refused unless its files are those of the receipt beside it; what that is worth says ctrain verify.`,
    )
    .action(async ({ model: folder, input, output, json }: PredictFlags) => {
      const format = formatOf(output, json === true);
      const model = await readOpenedModel(folder);
      const names = classNames(model);
      const texts = textsOf(predictRows(model, input), names, format);
      if (output === undefined) {
        for await (const { text } of texts) process.stdout.write(text);
        return;
      }
      const file = await openAtomic(output);
      let rows = 0;
      try {
        for await (const part of texts) {
          await file.write(utf8(part.text));
          rows += part.rows;
        }
        await file.commit();
      } finally {
        await file.discard();
      }
      console.log(`${count(rows)} rows in ${output}`);
    });
}

function formatOf(output: string | undefined, json: boolean): 'csv' | 'json' {
  const extension = extname(output ?? '').toLowerCase();
  if (extension === '.json' || (json && (output === undefined || extension === ''))) return 'json';
  if (output === undefined || (extension === '.csv' && !json)) return 'csv';
  throw new SecureTrainingError(
    'CONFIG_INVALID',
    `--output: found ${output}, wanted a name that ends in .csv or .json`,
  );
}

/** The file piece by piece; a JSON file is a list with one object a row. */
async function* textsOf(
  batches: AsyncIterable<readonly Prediction[]>,
  names: readonly string[],
  format: 'csv' | 'json',
): AsyncGenerator<{ text: string; rows: number }> {
  const object = ({ line, prediction, probabilities }: Prediction) =>
    JSON.stringify({
      line,
      prediction,
      probabilities: Object.fromEntries(names.map((name, i) => [name, probabilities[i]])),
    });
  let rows = 0;
  let header = format === 'csv' ? `${predictionHeader(names)}\n` : '';
  for await (const batch of batches) {
    const lines = batch.map((each, i) =>
      format === 'csv' ? predictionLine(each) : `${rows + i === 0 ? '[' : ','}\n${object(each)}`,
    );
    rows += batch.length;
    yield { text: header + (format === 'csv' ? lines.map((line) => `${line}\n`) : lines).join(''), rows: batch.length };
    header = '';
  }
  yield { text: format === 'csv' ? header : rows === 0 ? '[]\n' : '\n]\n', rows: 0 };
}
