#!/usr/bin/env bash
# A real Slurm of two nodes, n1 and n2, with four GPUs each (by count: none exists), all on this machine and in DIR.
#
#   two_nodes.sh DIR CTLD_PORT N1_PORT N2_PORT
#
# Says "up" when jobs can be submitted with SLURM_CONF=DIR/slurm.conf, and takes everything down when its standard input
# ends. Needs root, and Debian's slurm-wlm and munge (built for several slurmd on one host).
set -euo pipefail
dir=$1
host=$(hostname -s)
export SLURM_CONF=$dir/slurm.conf

down() {
  local name pid
  for name in n1 n2 ctld munged; do
    pid=$(cat "$dir/$name.pid" 2>/dev/null) || continue
    kill "$pid" 2>/dev/null || continue
    for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
  done
}
trap down EXIT

mkdir -p "$dir/state" "$dir/spool.n1" "$dir/spool.n2"
chmod 755 "$dir"
for i in 0 1 2 3; do : > "$dir/gpu$i"; done
(umask 077 && head -c 1024 /dev/urandom > "$dir/munge.key")
munged --force --socket="$dir/munge.socket" --key-file="$dir/munge.key" --pid-file="$dir/munged.pid" \
  --seed-file="$dir/munge.seed" --log-file="$dir/munged.log"

cat > "$dir/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$2
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge.socket
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool.%n
SlurmctldPidFile=$dir/ctld.pid
SlurmdPidFile=$dir/%n.pid
SlurmctldLogFile=$dir/ctld.log
SlurmdLogFile=$dir/%n.log
ProctrackType=proctrack/linuxproc
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
ReturnToService=2
KillWait=5
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$3 CPUs=1 RealMemory=1000 Gres=gpu:4
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=$4 CPUs=1 RealMemory=1000 Gres=gpu:4
PartitionName=main Nodes=ALL Default=YES OverSubscribe=FORCE:16 State=UP MaxTime=INFINITE
CONF
# Newer ones look for cgroups although nothing here uses them; containers have none to give.
[[ $(slurmd -V) == *" 22."* ]] || echo "CgroupPlugin=disabled" > "$dir/cgroup.conf"
echo "NodeName=n[1-2] Name=gpu File=$dir/gpu[0-3]" > "$dir/gres.conf"

slurmctld -c -f "$SLURM_CONF"
for _ in $(seq 100); do scontrol ping 2>/dev/null | grep -q UP && break; sleep 0.2; done
slurmd -N n1 -f "$SLURM_CONF"
slurmd -N n2 -f "$SLURM_CONF"
for _ in $(seq 300); do
  [ "$(sinfo -h -t idle -o %D 2>/dev/null)" != 2 ] || { echo up; cat >/dev/null; exit 0; }
  sleep 0.2
done
echo "the nodes did not become idle: $(sinfo -h -N -o '%N %t %E' | tr '\n' ';')"
tail -n 5 "$dir"/*.log
exit 1
