import { Command } from 'commander';
import { vaultClient } from '../../runtime/azure/vault.ts';
import { policyDigest } from '../../runtime/keys/release-policy.ts';
import { openContext } from '../context.ts';
import { chooseKeyName } from '../run/key-name.ts';
import { declaredPolicy, lockKey } from '../run/lock-key.ts';

interface LockKeyFlags {
  readonly keyName?: string;
  readonly policyHash?: string;
  readonly json?: boolean;
  readonly deployment?: string;
}

export function lockKeyCommand(): Command {
  return new Command('lock-key')
    .description('make the release policy of a key immutable, once it is what was declared; nothing is sealed before')
    .option('-k, --key-name <name>', 'release key, with or without its digest (default: the newest)')
    .option('--policy-hash <hash>', "x-ms-policy-hash that the environment's attestationPolicyHash sets, if it does")
    .option('--json', 'machine-readable output')
    .option('-d, --deployment <file>', 'deployment file (default: the emulator)')
    .addHelpText(
      'after',
      `
Example:
  $ ctrain lock-key --deployment deployment.json

Needs Key Vault Crypto Officer on the vault and a way to its private endpoint. A locked policy can never be changed, by
anybody; a new policy is a new key. Doing it again changes nothing.`,
    )
    .action(async (flags: LockKeyFlags) => {
      const { deployment, network, credential, close } = await openContext(flags.deployment, console.error);
      try {
        const keyName = chooseKeyName(deployment, flags.keyName);
        const policy = declaredPolicy(deployment, flags.policyHash);
        const isNew = await lockKey(vaultClient(network, credential, deployment.owner.vaultHost), keyName, policy);
        if (flags.json === true) console.log(JSON.stringify({ keyName, policyDigest: policyDigest(policy), isNew }));
        else
          console.log(`${keyName} ${isNew ? 'is locked now' : 'was locked already'}: its release policy never changes`);
      } finally {
        await close();
      }
    });
}
