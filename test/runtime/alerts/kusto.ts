import { createRequire } from 'node:module';
import { TABLES, type TableColumn } from '../../../runtime/catalogue.ts';

/**
 * Columns of Azure's own tables that this project's queries may name
 * (learn.microsoft.com/azure/azure-monitor/reference/tables, October 2026).
 */
const AZURE_SCHEMAS: Readonly<Record<string, string>> = {
  AZKVAuditLogs:
    'TimeGenerated: datetime, OperationName: string, ResultType: string, ResultSignature: string, ResultDescription: string, HttpStatusCode: int, CallerIpAddress: string, ClientInfo: string, CorrelationId: string, Id: string, RequestUri: string, Identity: dynamic, IsRbacAuthorized: bool, IsAddressAuthorized: bool, KeyProperties: dynamic, NetworkAcls: dynamic, VaultProperties: dynamic, _ResourceId: string',
  AzureAttestationDiagnostics:
    'TimeGenerated: datetime, OperationName: string, ResultType: string, ResultSignature: string, FailureDetails: string, CallerIpAddress: string, Identity: dynamic, ResourceUri: string, _ResourceId: string',
  StorageBlobLogs:
    'TimeGenerated: datetime, OperationName: string, AuthenticationType: string, StatusCode: string, StatusText: string, CallerIpAddress: string, RequesterObjectId: string, RequesterAppId: string, Uri: string, ObjectKey: string, UserAgentHeader: string, CorrelationId: string, _ResourceId: string',
  NTANetAnalytics:
    'TimeGenerated: datetime, SubType: string, FlowStatus: string, FlowDirection: string, AclRule: string, SrcIp: string, DestIp: string, DestPort: int, FlowType: string',
  AzureActivity:
    'TimeGenerated: datetime, OperationNameValue: string, ActivityStatusValue: string, Caller: string, CallerIpAddress: string, ResourceGroup: string, Category: string, _ResourceId: string',
};

interface Diagnostic {
  readonly Severity: string;
  readonly Message: string;
}

/** What of the language service is used here: its own declarations are 1.7 MB of overloads, compiled from C#. */
interface Language {
  readonly GlobalState: { readonly Default: { WithDatabase(database: object): object } };
  readonly KustoCode: { ParseAndAnalyze(query: string, globals: object): { GetDiagnostics(): List<Diagnostic> } };
  readonly Symbols: {
    readonly TableSymbol: { From(schema: string): { WithName(name: string): object } };
    readonly DatabaseSymbol: { readonly $ctor1: new (name: string, tables: readonly object[]) => object };
  };
}

interface List<T> {
  readonly Count: number;
  getItem(index: number): T;
}

/** What Kusto's own language service has to say against a query: its words, none where it would run. */
export function queryErrors(query: string): readonly string[] {
  const { KustoCode } = language();
  const found = KustoCode.ParseAndAnalyze(query, workspace()).GetDiagnostics();
  return Array.from({ length: found.Count }, (_, i) => found.getItem(i))
    .filter(({ Severity }) => Severity === 'Error')
    .map(({ Message }) => Message);
}

let known: object | undefined;

function workspace(): object {
  const { GlobalState, Symbols } = language();
  const custom = Object.entries<readonly TableColumn[]>(TABLES).map(([name, columns]) => {
    const schema = columns.map((column) => `${column.name}: ${column.type === 'boolean' ? 'bool' : column.type}`);
    return [`${name}_CL`, schema.join(', ')] as const;
  });
  const tables = [...Object.entries(AZURE_SCHEMAS), ...custom].map(([name, schema]) =>
    Symbols.TableSymbol.From(`(${schema})`).WithName(name),
  );
  known ??= GlobalState.Default.WithDatabase(new Symbols.DatabaseSymbol.$ctor1('workspace', tables));
  return known;
}

/** The package puts itself into the global scope. */
function language(): Language {
  const scope = globalThis as { Kusto?: { readonly Language: Language } };
  if (scope.Kusto === undefined) {
    const require = createRequire(import.meta.url);
    require('@kusto/language-service-next/bridge.min.js');
    require('@kusto/language-service-next/Kusto.Language.Bridge.min.js');
  }
  if (scope.Kusto === undefined) throw new Error('the Kusto language service did not load');
  return scope.Kusto.Language;
}
