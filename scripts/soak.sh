#!/usr/bin/env bash
# Mixed load with random faults for a long time, within fixed bounds: memory, descriptors and tasks of topobench must not
# grow, every point must be accounted for, and nothing may be left behind.
#
#   scripts/soak.sh [SECONDS]        1800 by default
#   BIN=target/debug scripts/soak.sh 300
#
# Faults hit the simulated engines and their guardians: SIGKILL, SIGSTOP, SIGSTOP for a moment. Two runs go on side by
# side, `nixl` with 2 x 2 instances and `simple` with 2 replicas. The samples are kept in the directory that it names.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-1800}
bin=$(realpath "${BIN:-target/release}")
most_memory_growth=$((24 * 1024)) # KiB, from the first quarter of the samples to the last
most_descriptor_growth=16
most_task_growth=4
grace=60 # seconds to end in order

[ -x "$bin/topobench" ] || {
  echo "no topobench in $bin: cargo build --release, or set BIN" >&2
  exit 2
}
dir=$(mktemp -d "${TMPDIR:-/tmp}/topobench-soak.XXXXXX")
tag=soak-$$-$RANDOM
echo "soaking for $seconds s in $dir"

tagged() { # pids of everything that descends from our runs
  grep -zlx "SOAK_TAG=$tag" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3 || true
}
cmdline() { tr '\0' ' ' <"/proc/$1/cmdline" 2>/dev/null || true; }
is_alive() { [ -r "/proc/$1/stat" ] && ! grep -q '^[^)]*) [ZX]' "/proc/$1/stat" 2>/dev/null; }
left() { # what of it is alive
  local pid
  for pid in $(tagged); do if is_alive "$pid"; then echo "$pid $(cmdline "$pid")"; fi; done
}
clean_up() { # the runs first: their guardians then see to the engines and their files
  local pid
  for pid in ${nixl:-} ${simple:-}; do kill -KILL "$pid" 2>/dev/null || true; done
  for _ in $(seq 50); do [ -n "$(left)" ] && sleep 0.1 || return 0; done
  for pid in $(tagged); do kill -KILL "$pid" 2>/dev/null || true; done
}
trap clean_up EXIT

start() { # NAME ARGS...: a run that lasts longer than the soak; its pid goes to $pid
  local name=$1
  shift
  SOAK_TAG=$tag PATH="$bin:$PATH" "$bin/topobench" "$@" --engine sim \
    --request-rate 5,20,40 --duration 4 --attempts $((seconds / 4 + 10)) \
    --random-input-len 200 --random-output-len 40 --random-range-ratio 0.8 --num-warmups 2 \
    --ready-timeout 20 --first-token-timeout 4 --idle-timeout 4 --drain-timeout 10 --on-failure skip \
    --engine-arg --sim-speed --engine-arg 4 --engine-arg --sim-fault --engine-arg leave-files \
    --result-dir "$dir/results" --json >"$dir/$name.out" 2>"$dir/$name.err" &
  pid=$!
}

sample() { # NAME PID
  local rss tasks descriptors
  rss=$(awk '/^VmRSS/ {print $2}' "/proc/$2/status") || return 0
  tasks=$(awk '/^Threads/ {print $2}' "/proc/$2/status") || return 0
  descriptors=$(find "/proc/$2/fd" -mindepth 1 2>/dev/null | wc -l)
  if [ -n "$rss" ]; then echo "$SECONDS $rss $descriptors $tasks" >>"$dir/$1.samples"; fi
}

fault() { # one, to a random engine or guardian
  local victims victim what
  mapfile -t victims < <(for p in $(tagged); do case "$(cmdline "$p")" in *"enginesim serve"*) echo "$p" ;; esac; done)
  [ ${#victims[@]} -gt 0 ] || return 0
  victim=${victims[RANDOM % ${#victims[@]}]}
  case $((RANDOM % 5)) in
    0 | 1) what="SIGKILL to engine $victim" && kill -KILL "$victim" 2>/dev/null ;;
    2) what="SIGSTOP to engine $victim" && kill -STOP "$victim" 2>/dev/null ;;
    3) what="a moment's SIGSTOP to engine $victim" && kill -STOP "$victim" 2>/dev/null && sleep 1.5 && kill -CONT "$victim" 2>/dev/null ;;
    4)
      victim=$(awk '{print $4}' "/proc/$victim/stat" 2>/dev/null) && [[ $(cmdline "$victim") == engine-guardian* ]] || return 0
      what="SIGKILL to guardian $victim" && kill -KILL "$victim" 2>/dev/null
      ;;
  esac || return 0
  echo "$SECONDS $what" >>"$dir/faults"
}

start nixl nixl --prefill 2 --decode 2
nixl=$pid
start simple simple --replicas 2
simple=$pid

next_fault=$((SECONDS + 15))
while [ "$SECONDS" -lt "$seconds" ]; do
  sleep 1
  tagged >>"$dir/pids"
  for name in nixl simple; do
    if ! is_alive "${!name}"; then
      echo "FAILED: the $name run ended early: $(tail -n 3 "$dir/$name.err")" >&2
      exit 1
    fi
    sample "$name" "${!name}"
  done
  if [ "$SECONDS" -ge "$next_fault" ]; then
    fault
    next_fault=$((SECONDS + 5 + RANDOM % 20))
  fi
done

failed=0
fail() {
  echo "FAILED: $*" >&2
  failed=1
}

kill -INT "$nixl" "$simple"
for name in nixl simple; do
  for _ in $(seq $((grace * 10))); do is_alive "${!name}" && sleep 0.1 || break; done
  if is_alive "${!name}"; then
    fail "$name did not end within $grace s of SIGINT"
    continue
  fi
  code=0
  wait "${!name}" || code=$?
  [ "$code" = 130 ] || fail "$name ended with $code after SIGINT: $(tail -n 3 "$dir/$name.err")"
done
remains=$(left)
[ -z "$remains" ] || fail "left running: $remains"
for p in $(sort -u "$dir/pids"); do # files that `leave-files` gives an engine
  for file in "/dev/shm/psm_sim$p" "$(printf '/tmp/%08x-0000-0000-0000-%012x' "$p" "$p")"; do
    [ ! -e "$file" ] || fail "left behind: $file"
  done
done

quarters() { # FILE COLUMN: medians of the first and of the last quarter; the first tenth is warm-up
  local skipped
  skipped=$(($(wc -l <"$1") / 10))
  tail -n +$((skipped + 1)) "$1" | awk -v column="$2" '{v[NR] = $column}
    function median(from, to,   i, n, s, a, j, t) {
      n = 0; for (i = from; i <= to; i++) a[++n] = v[i]
      for (i = 2; i <= n; i++) { t = a[i]; for (j = i - 1; j > 0 && a[j] > t; j--) a[j + 1] = a[j]; a[j + 1] = t }
      return a[int((n + 1) / 2)]
    }
    END { q = int(NR / 4); if (q < 1) q = 1; print median(1, q), median(NR - q + 1, NR) }'
}
bound() { # NAME COLUMN WHAT MOST
  local first last
  read -r first last < <(quarters "$dir/$1.samples" "$2")
  printf '  %-8s %-12s %8d -> %8d (at most +%d)\n' "$1" "$3" "$first" "$last" "$4"
  [ $((last - first)) -le "$4" ] || fail "$1: $3 grew from $first to $last"
}
for name in nixl simple; do
  bound "$name" 2 "memory KiB" "$most_memory_growth"
  bound "$name" 3 descriptors "$most_descriptor_growth"
  bound "$name" 4 tasks "$most_task_growth"
  points=$(grep -c '"event":"point_finished"' "$dir/$name.err" || true)
  measured=$(grep '"event":"point_finished"' "$dir/$name.err" | grep -c '"status":"measured"' || true)
  launches=$(grep -c '"event":"launching"' "$dir/$name.err" || true)
  echo "  $name: $points points, $measured of them undisturbed, $launches launches"
  [ "$measured" -gt 0 ] || fail "$name measured nothing"
  run=$(find "$dir/results/random" -maxdepth 1 -name "${name}_*" | head -n 1)
  code=0
  "$bin/topobench" show "$run" >/dev/null 2>"$dir/$name.show" || code=$?
  case $code in 0 | 4) ;; *) fail "$name cannot be read back: $(tail -n 3 "$dir/$name.show")" ;; esac
done
faults=$(wc -l <"$dir/faults" 2>/dev/null || echo 0)
echo "  $faults faults"
[ "$faults" -gt 0 ] || [ "$seconds" -lt 30 ] || fail "no fault was injected"

if [ "$failed" = 0 ]; then
  echo "passed: $seconds s"
  rm -rf "$dir"
else
  echo "kept: $dir" >&2
fi
exit "$failed"
