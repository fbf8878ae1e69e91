import { BINDING_FILE } from './native/binding.ts';

/**
 * Gives a process a root folder of its own: system programs and libraries, Node, the bundle, all read-only, and nothing else. What
 * Node's permission model does not cover is out of reach too: sockets that are files (the emulator's vTPM), files by native code.
 * Runs in fresh user and mount namespaces, as `sh -c OWN_ROOT sh NODE BUNDLE_DIR COMMAND...`, and fails where any part fails.
 * /dev is where the root is built because every system has that folder, and nothing in it is wanted. But TensorFlow ends the
 * process where it cannot open /dev/urandom or read the link /proc/self/exe: where the bundle has TensorFlow, the first is held open
 * and comes along, and the second is a link that we make.
 */
export const OWN_ROOT = `
set -e
node=$1 bundle=$2
shift 2
exec 9< /dev/urandom
mount --make-rprivate /
mount -t tmpfs -o mode=755,size=1m none /dev
root=/dev/root
mkdir $root
for folder in /usr /bin /sbin /lib /lib32 /lib64; do
  if [ -L $folder ]; then
    cp -P $folder $root/
  elif [ -d $folder ]; then
    mkdir $root$folder
    mount --rbind $folder $root$folder
    mount -o remount,bind,ro $root$folder
  fi
done
if [ ! -e "$root$node" ]; then
  mkdir -p "$root\${node%/*}"
  : > "$root$node"
  mount --bind "$node" "$root$node"
  mount -o remount,bind,ro "$root$node"
fi
if [ ! -e "$root$bundle" ]; then
  mkdir -p "$root$bundle"
  mount --bind "$bundle" "$root$bundle"
  mount -o remount,bind,ro "$root$bundle"
fi
if [ -e "$bundle/${BINDING_FILE}" ]; then
  mkdir -p $root/dev $root/proc/self
  ln -s "$node" $root/proc/self/exe
  : > $root/dev/urandom
  mount --no-canonicalize --bind /proc/self/fd/9 $root/dev/urandom
fi
exec 9<&-
mount -o remount,bind,ro /dev
exec env -i "$(command -v chroot)" $root "$@"
`;
