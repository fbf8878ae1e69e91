import type { ModelCard } from './card-file.ts';
import { scoreLines } from './score-table.ts';

const COLUMNS_SHOWN = 40;

/** The card for people; its headings are those of "Model Cards for Model Reporting" (arXiv 1810.03993) as far as we know anything of them. */
export function cardMarkdown(card: ModelCard): string {
  const { inputs, receipt } = card;
  const more = inputs.columns.length > COLUMNS_SHOWN ? `, … (${inputs.columns.length})` : '';
  const sections: readonly (readonly [string, readonly string[]])[] = [
    [
      'Model',
      [
        `- layers: ${JSON.stringify(card.configuration.training)}`,
        `- trained ${card.startedOn} to ${card.finishedOn}, engine ${card.engine}, ${card.kind}`,
        ...card.files.map(({ name, sha256 }) => `- \`model/${name}\`: SHA-256 \`${sha256}\``),
      ],
    ],
    [
      'Data',
      card.data.length === 0
        ? ['Plain rows that nobody signed.']
        : card.data.map(
            ({ dataset, version, ownerId, digest }) =>
              `- ${dataset} version ${version} of owner \`${ownerId}\`, manifest \`${digest}\``,
          ),
    ],
    [
      'Preprocessing',
      [
        `- ${inputs.featureCount} features of ${inputs.dtype}: ${inputs.columns.slice(0, COLUMNS_SHOWN).map(code).join(', ')}${more}`,
        `- normalisation: ${inputs.normalisation}`,
        ...(inputs.coded.length === 0 ? [] : [`- columns of names, coded: ${inputs.coded.map(code).join(', ')}`]),
        `- classes: ${card.classes.map(code).join(', ')}`,
        '- all of it, to the last mean and code, stands in `model/preprocessing.json`; `ctrain predict` applies it',
      ],
    ],
    ['Metrics', metricTable(card.metrics)],
    ...Object.entries(card.scores ?? {}).map(
      // Names stand in a code block, where nothing in them is markup.
      ([split, scores]) => [`Scores of the ${split} split`, ['```', ...scoreLines(scores), '```']] as const,
    ),
    ['Limits', card.limits.map((limit) => `- ${limit}`)],
    [
      'Receipt',
      receipt === undefined
        ? ['None: a run on plain rows proves nothing.']
        : [
            `- verdict when it was opened: **${receipt.verdict}** (\`ctrain verify\` says it again, and why)`,
            ...receipt.failed.map((check) => `- failed: ${check}`),
            `- agreement \`${receipt.agreementDigest}\``,
            `- trainer \`${receipt.trainerSha256}\`, hardware ${receipt.hardware}`,
          ],
    ],
  ];
  return `# Model of ${card.runId}\n\n${sections.map(([title, lines]) => `## ${title}\n\n${lines.join('\n')}\n`).join('\n')}`;
}

function metricTable(metrics: Readonly<Record<string, number>>): string[] {
  const entries = Object.entries(metrics);
  if (entries.length === 0) return ['The agreement lets none out.'];
  return ['| metric | value |', '| --- | --- |', ...entries.map(([name, value]) => `| ${name} | ${value} |`)];
}

/** Names are the owner's: nothing in them ends the code span. */
function code(name: string): string {
  return `\`${name.replaceAll('`', "'")}\``;
}
