import { EVENT_LOG_PATH, NODE_BINARY, TRAINER_BUNDLE, TRAINER_FLAGS } from '../runtime/catalogue.ts';

/** What a machine needs to know to start its trainer. Values may be tokens: none is looked into here. */
export interface BootOptions {
  readonly vmResourceId: string;
  readonly identityClientId: string;
  /** `https://ACCOUNT.blob.core.windows.net` */
  readonly blobEndpoint: string;
  readonly bundleSha256: string;
  /** SHA-256 (hex) of the Node binary, published beside bundles as `SHA256/node`. */
  readonly nodeSha256: string;
  readonly logs: { readonly endpoint: string; readonly ruleId: string };
  /** Host name to address: all the names the machine can resolve. */
  readonly hosts: Readonly<Record<string, string>>;
}

const HOME = '/opt/ctrain';
const METADATA = '169.254.169.254';
const WIRE_SERVER = '168.63.129.16';

/** First line of cloud-init user data; what follows is YAML, and JSON is YAML. */
export const CLOUD_CONFIG_HEADER = '#cloud-config';

/**
 * Cloud-init configuration that makes a machine a trainer: fetch bundle and Node by digest, start them hardened, shut every
 * other door. An object, so that a review of the synthesized JSON can read it. No text here contains a dollar or per cent
 * sign before a brace: it passes through Terraform, where that would be an expression.
 */
export function cloudConfig(options: BootOptions): Readonly<Record<string, unknown>> {
  const machine = {
    version: 1,
    vmResourceId: options.vmResourceId,
    identityClientId: options.identityClientId,
    blobEndpoint: options.blobEndpoint,
    bundleSha256: options.bundleSha256,
    logs: { endpoint: options.logs.endpoint, ruleId: options.logs.ruleId },
    vtpm: '/dev/tpmrm0',
  };
  const file = (path: string, permissions: string, content: string) => ({
    path,
    permissions,
    owner: 'root:root',
    content,
  });
  return {
    ssh_pwauth: false,
    disable_root: true,
    package_update: false,
    package_upgrade: false,
    groups: ['tss'],
    users: [
      {
        name: 'ctrain',
        system: true,
        shell: '/usr/sbin/nologin',
        lock_passwd: true,
        no_create_home: true,
        groups: ['tss'],
      },
    ],
    write_files: [
      file('/etc/ctrain/machine.json', '0444', `${JSON.stringify(machine, null, 2)}\n`),
      file('/etc/sysctl.d/90-ctrain.conf', '0444', SYSCTL),
      file('/etc/udev/rules.d/90-ctrain.rules', '0444', 'KERNEL=="tpmrm0", GROUP="tss", MODE="0660"\n'),
      // The event log explains the PCR values of the evidence; without this only root reads it.
      file('/etc/tmpfiles.d/ctrain.conf', '0444', `z ${EVENT_LOG_PATH} 0440 root tss\n`),
      file('/etc/nftables.conf', '0400', FIREWALL),
      file('/usr/local/sbin/ctrain-fetch', '0500', fetchScript(options)),
      file('/etc/systemd/system/ctrain-fetch.service', '0444', FETCH_UNIT),
      file('/etc/systemd/system/ctrain.service', '0444', TRAINER_UNIT),
    ],
    runcmd: [
      ['sh', '-c', hostsCommand(options.hosts)],
      ['systemd-tmpfiles', '--create', '/etc/tmpfiles.d/ctrain.conf'],
      ['udevadm', 'trigger', '--settle', '/dev/tpmrm0'],
      ['sysctl', '--quiet', '--system'],
      ['swapoff', '--all'],
      // Doors that a marketplace image leaves open: shells from the network, extensions, a second run of this file.
      ['systemctl', 'mask', '--now', 'ssh.service', 'ssh.socket', 'walinuxagent.service', 'serial-getty@ttyS0.service'],
      [
        'systemctl',
        'mask',
        '--now',
        'unattended-upgrades.service',
        'apt-daily.timer',
        'apt-daily-upgrade.timer',
        'snapd.service',
      ],
      ['touch', '/etc/cloud/cloud-init.disabled'],
      ['systemctl', 'enable', '--now', 'nftables.service'],
      ['sh', '-c', CLOSED],
      ['systemctl', 'daemon-reload'],
      ['systemctl', 'enable', '--now', '--no-block', 'ctrain-fetch.service', 'ctrain.service'],
    ],
  };
}

function hostsCommand(hosts: Readonly<Record<string, string>>): string {
  const lines = Object.entries(hosts).map(([name, address]) => `${address} ${name}`);
  // An address may be known only after apply, and may be none: such a line would be no line of a host file.
  return `printf '%s\\n' ${lines.map((line) => `'${line}'`).join(' ')} | grep '^[0-9]' >> /etc/hosts`;
}

/** Says which doors are shut, and which of them are not. */
const CLOSED = `for unit in ssh.service ssh.socket walinuxagent.service; do
  systemctl is-active --quiet $unit && echo "ctrain: boot.open $unit" > /dev/ttyS0
done
echo 'ctrain: boot.closed' > /dev/ttyS0`;

/**
 * Waits for what is not there yet and says so: a machine nobody enters must speak. The words of a boot are boot.closed
 * (or open), started, waiting, fetched, refused, failed, ready and stopped, each with what it is about and its code
 * (runtime/run-steps.ts reads them).
 */
function fetchScript({ blobEndpoint, identityClientId, bundleSha256, nodeSha256 }: BootOptions): string {
  return `#!/bin/sh
# Fetches the trainer and its Node by digest. Says each step on the serial console.
set -eu
say() { echo "ctrain: $1" > /dev/ttyS0; }
token() {
  curl --silent --fail --max-time 10 --header 'Metadata: true' \\
    'http://${METADATA}/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fstorage.azure.com%2F&client_id=${identityClientId}' |
    python3 -c 'import json,sys; print(json.load(sys.stdin)["access_token"])'
}
once() { # digest, blob name, destination
  bearer=$(token) || return 1
  printf 'header = "Authorization: Bearer %s"\\n' "$bearer" |
    curl --silent --fail --max-time 300 --config - --header 'x-ms-version: 2023-11-03' \\
      --output "$3" "${blobEndpoint}/trainer/$1/$2"
}
fetch() { # 1: no identity yet; else what curl ends with: 6 no name, 7 no way, 22 refused or not there, 28 too slow
  until once "$@"; do
    say "boot.waiting $2 $1 code $?"
    sleep 15
  done
  echo "$1  $3" | sha256sum --check --status || { say "boot.refused $2: digest is not $1"; rm -f "$3"; exit 1; }
  say "boot.fetched $2 $1"
}
failed() { say "boot.failed $1 code $2"; exit 1; }
say 'boot.started'
install -d -m 0755 ${HOME} ${HOME}/bundle || failed folder $?
fetch ${nodeSha256} ${NODE_BINARY} ${HOME}/node
chmod 0555 ${HOME}/node
fetch ${bundleSha256} ${TRAINER_BUNDLE} ${HOME}/${TRAINER_BUNDLE}
tar --extract --no-same-owner --file ${HOME}/${TRAINER_BUNDLE} --directory ${HOME}/bundle || failed unpack $?
say 'boot.ready'
`;
}

const SYSCTL = `kernel.core_pattern=|/bin/false
fs.suid_dumpable=0
kernel.yama.ptrace_scope=3
kernel.kexec_load_disabled=1
# The worker's empty network is a user namespace of its own.
kernel.apparmor_restrict_unprivileged_userns=0
`;

const FIREWALL = `flush ruleset
table inet ctrain {
  chain input {
    type filter hook input priority 0; policy drop;
    iif lo accept
    ct state established,related accept
    # The address lease
    udp sport 67 udp dport 68 accept
  }
  chain output {
    type filter hook output priority 0; policy accept;
    # Identity tokens are for the broker, and for root, which fetches it
    ip daddr { ${METADATA}, ${WIRE_SERVER} } meta skuid != { "root", "ctrain" } drop
  }
}
`;

const FETCH_UNIT = `[Unit]
Description=Fetch the trainer by digest
After=network-online.target nftables.service
Wants=network-online.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/ctrain-fetch
TimeoutStartSec=infinity
Restart=on-failure
RestartSec=60
[Install]
WantedBy=multi-user.target
`;

const TRAINER_UNIT = `[Unit]
Description=Confidential trainer
Requires=ctrain-fetch.service
After=ctrain-fetch.service
# Three more starts a boot, then power off: what is left is the daily schedule's to deallocate.
StartLimitIntervalSec=1d
StartLimitBurst=4
StartLimitAction=poweroff
SuccessAction=poweroff
FailureAction=poweroff
[Service]
User=ctrain
SupplementaryGroups=tss
ExecStart=${HOME}/node ${TRAINER_FLAGS.join(' ')} ${HOME}/bundle/main.mjs /etc/ctrain/machine.json
ExecStopPost=/bin/sh -c 'echo "ctrain: boot.stopped $$SERVICE_RESULT code $$EXIT_STATUS"'
# A kill, a bug (1) and a service that was away (3) are worth another try; every other exit is an answer.
Restart=on-failure
RestartPreventExitStatus=2 4 5 6 7 8
RestartSec=5
StandardOutput=journal+console
StandardError=journal+console
RuntimeDirectory=ctrain
RuntimeDirectoryMode=0700
WorkingDirectory=/run/ctrain
LimitCORE=0
LimitMEMLOCK=infinity
MemorySwapMax=0
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=yes
ProtectProc=invisible
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
PrivateTmp=yes
DevicePolicy=closed
DeviceAllow=/dev/tpmrm0 rw
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictSUIDSGID=yes
RestrictRealtime=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=~@debug @module @raw-io @reboot @swap @obsolete process_vm_readv process_vm_writev
[Install]
WantedBy=multi-user.target
`;
