"""What runs on the nodes of a Slurm cluster: POSIX sh and nothing else. Pure.

Theory of operation
-------------------
Slurm gets a script of two lines, the same for every job of a submission. It finds the attempt's directory, a link
``<shared>/sent/<submission>/<array index>``, and executes the wrapper there. The wrapper

1. goes to that directory. It is removed when the attempt is over, so a submission that Slurm made twice, or too
   late, finds nothing and ends;
2. claims the attempt: makes the file ``claim``, which only one can (noclobber is O_EXCL); the engine withdraws an
   attempt by claiming it itself;
3. runs the prolog, if there is one, then the job, in a session of its own, with the environment of ``order`` (mode
   0600, never in Slurm's hands) and nothing else;
4. ends it when told: SIGTERM to its session, after the grace SIGKILL. It is told by a signal with a file ``kill`` (by
   Batchery), by its own clock (``late``), or by SIGTERM alone (by Slurm or an operator). The signal with the file is
   SIGTERM, or SIGURG where it cannot be sent to the wrapper alone: programs that do not ask for it do not notice it,
   nor do wrappers that find no file.
   Told the same again it does nothing, so that the grace runs on;
5. writes ``exit``, which says so if the kernel ended a process of the job for want of memory, and leaves.

Times are the times of the files, so the file server's clock is the only one. A file without its last line is not
there yet: that is as good as a rename and costs no process. For each step an empty file in ``<shared>/news`` tells the
engine where to look. What the wrapper does itself costs no process.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from batchery.engines.images import cannot_start

AWAY: Final = 113  #: exit code of a wrapper that does not find its attempt
TAKEN: Final = 114  #: of one whose attempt is claimed already

WRAPPER: Final = r"""# Batchery's wrapper: runs one attempt of a job. Made by the server; changes here are lost.
_b_at=$1 _b_news=$2 _b_job=$3 _b_node=$4 _b_gpus=$5
_b_hit= _b_pid= _b_killer= _b_dog= _b_cause= _b_told=
trap '_b_hit=TERM; _b_stop TERM' TERM
trap '_b_hit=${_b_hit:-URG}; _b_stop URG' URG
cd "$_b_at" 2>/dev/null || exit 113
_b_second() { # a launch too many: as long as the first one lives here, Slurm is not to think that it is over
  trap - TERM URG
  read -r _b_host _b_first <claim && [ "$_b_host" = "$_b_node" ] || exit 114
  while [ ! -e exit ] && kill -0 "$_b_first"; do sleep 2; done
  exit 114
}
set -C
echo "$_b_node $$" 2>/dev/null >claim || _b_second 2>/dev/null
set +C
read -r _b_x _b_task _b_limit _b_grace _b_prolog _b_log <order || exit 115
_b_news=$_b_news/$_b_task
if [ -x /usr/bin/setsid ]; then _b_setsid=/usr/bin/setsid; else _b_setsid=; fi

_b_tell() { # NAME: end a process and its session, or send it a signal
  kill -"$1" -"$2" 2>/dev/null || kill -"$1" "$2" 2>/dev/null
}
_b_stop() {
  [ -n "$_b_pid" ] || return 0
  if [ -s kill ]; then read -r _b_why _b_grace <kill
  elif [ -e late ]; then _b_why=TIMEOUT
  elif [ "$1" = URG ]; then return 0 # it is for another node of the same job
  else _b_why=SLURM; fi
  [ "$_b_told" != "$_b_pid $_b_why $_b_grace" ] || return 0
  _b_told="$_b_pid $_b_why $_b_grace"
  [ -n "$_b_cause" ] || _b_cause=$_b_why
  : >told
  _b_tell TERM "$_b_pid"
  [ -z "$_b_killer" ] || _b_tell KILL "$_b_killer"
  $_b_setsid /bin/sh -c 'sleep "$1"; kill -KILL -"$2" 2>/dev/null || kill -KILL "$2"' sh "$_b_grace" "$_b_pid" \
    </dev/null >/dev/null 2>&1 &
  _b_killer=$!
}
_b_fail() { # WORDS: it cannot be started
  echo "$1" >"$_b_at/failed"
  exit 127
}
_b_begin() { # PHASE: in a process of its own, which becomes the prolog or the job
  trap - TERM URG
  _b_phase=$1
  [ -z "$_b_gpus" ] || export CUDA_VISIBLE_DEVICES="$_b_gpus"
  export SLURM_JOB_ID="$_b_job" SLURMD_NODENAME="$_b_node"
  cd work || _b_fail 'no working directory'
  unset OLDPWD PWD
  . ../order
  case $1 in
    */*) [ -e "$1" ] || _b_fail 'no such file or directory'
      [ -f "$1" ] && [ -x "$1" ] || _b_fail 'permission denied' ;;
    *) command -v "$1" >/dev/null || _b_fail 'no such file or directory' ;;
  esac
  if [ -n "$_b_pod" ]; then
    [ -e "$_b_at/starting" ] || echo "$_b_node $_b_job" >"$_b_at/starting"
    : >"$_b_news.begins"
  elif [ "$_b_phase" = job ]; then
    echo "$_b_node $_b_job" >"$_b_at/started"
    : >"$_b_news.began"
  fi
  exec $_b_setsid "$@"
}
_b_wait() { # the exit code of _b_pid into _b_code; a signal to us interrupts `wait`, which is then made again
  _b_code=
  while :; do
    _b_hit=
    wait "$_b_pid"
    _b_got=$?
    [ "$_b_got" = 127 ] && [ -n "$_b_code" ] || _b_code=$_b_got
    [ -n "$_b_hit" ] || break
  done 2>/dev/null
  kill -KILL -"$_b_pid" 2>/dev/null
}
_b_run() { # PHASE
  _b_begin "$1" </dev/null >>"$_b_log" 2>&1 &
  _b_pid=$!
  [ -z "$_b_hit" ] || _b_stop "$_b_hit"
  _b_wait
}

_b_code=0
if [ "$_b_prolog" = 1 ]; then
  echo "$_b_node $_b_job" >starting
  : >"$_b_news.begins"
  _b_run prolog
  if [ "$_b_code" != 0 ] && [ ! -e failed ] && [ -z "$_b_cause" ]; then echo "prolog exited with $_b_code" >failed; fi
fi
if [ "$_b_code" = 0 ] && [ -z "$_b_cause" ]; then
  _b_pid=
  if [ "$_b_limit" != 0 ]; then
    $_b_setsid /bin/sh -c 'sleep "$1"; : >late; kill -TERM "$2"' sh "$_b_limit" "$$" </dev/null >/dev/null 2>&1 &
    _b_dog=$!
  fi
  _b_run job
fi
[ -z "$_b_dog" ] || _b_tell KILL "$_b_dog"
[ -z "$_b_killer" ] || _b_tell KILL "$_b_killer"

_b_peak=0
while IFS=: read -r _b_x _b_kind _b_path; do
  case $_b_kind:$_b_path in memory:*/job_* | :*/job_*) ;; *) continue ;; esac
  for _b_file in "/sys/fs/cgroup/memory$_b_path/memory.max_usage_in_bytes" "/sys/fs/cgroup$_b_path/memory.peak"; do
    if [ -r "$_b_file" ]; then read -r _b_peak <"$_b_file"; fi
  done
  for _b_file in "/sys/fs/cgroup/memory$_b_path/memory.oom_control" "/sys/fs/cgroup$_b_path/memory.events"; do
    [ "$_b_code" != 0 ] && [ -r "$_b_file" ] || continue
    while read -r _b_x _b_killed; do
      case $_b_x:$_b_killed in oom_kill:0) ;; oom_kill:*) : "${_b_cause:=OOM}" ;; esac
    done <"$_b_file"
  done
done </proc/self/cgroup 2>/dev/null
until { echo "$_b_code ${_b_cause:-EXIT} $_b_peak" && times && echo end; } >exit 2>/dev/null; do sleep 5; done
: >"$_b_news.over"
exit "$_b_code"
"""

#: The wrapper's name changes with its text: jobs that wait in Slurm find the one that they were sent with.
WRAPPER_NAME: Final = f"wrapper-{hashlib.sha256(WRAPPER.encode()).hexdigest()[:12]}"

#: Soft and hard limits of a shell: option, and how many of our units make one of its own.
_ULIMITS: Final = {
    "core": ("c", 512),
    "cpu": ("t", 1),
    "data": ("d", 1024),
    "fsize": ("f", 512),
    "memlock": ("l", 1024),
    "nofile": ("n", 1),
    "stack": ("s", 1024),
}


def quote(text: str) -> str:
    """A word of sh, whatever is in it."""
    return "'" + text.replace("'", "'\\''") + "'"


def batch_script(shared: str, submission: str) -> str:
    """What sbatch is given. It hands on nothing of what Slurm puts into the environment but what is named here."""
    return (
        "#!/bin/sh\n"
        'exec env -i PATH=/usr/local/bin:/usr/bin:/bin HOME="$HOME" TMPDIR="${TMPDIR:-/tmp}" LANG=C.UTF-8 '
        f"/bin/sh {quote(f'{shared}/{WRAPPER_NAME}')} "
        f'{quote(f"{shared}/sent/{submission}")}/"${{SLURM_ARRAY_TASK_ID:-0}}" {quote(f"{shared}/news")} '
        '"$SLURM_JOB_ID" "$SLURMD_NODENAME" "${CUDA_VISIBLE_DEVICES-}"\n'
    )


def is_name(name: str) -> bool:
    """Whether a shell can have a variable of this name."""
    return name.isascii() and name.isidentifier()


def order_text(
    meta: Mapping[str, Any],
    argv: Sequence[str],
    environment: Mapping[str, str],
    prolog: Sequence[str] = (),
    limits: Sequence[tuple[str, int, int]] = (),
) -> str:
    """The file ``order``: a line for the wrapper, one for the engine (``meta``), then sh that the job's process reads.

    ``meta`` has at least task, limit and grace (whole seconds, limit 0 for none) and log. Names that no shell can
    have go to the job by `env`. A NUL byte cannot be in any of it: see `cannot_be_said`.
    """
    lines = [*head_lines(meta, prolog), *environment_lines(environment, limits)]
    words = command_words(argv, environment)
    if prolog:
        lines.append(
            f'if [ "$_b_phase" = prolog ]; then set -- {" ".join(map(quote, prolog))}; else set -- {words}; fi'
        )
    else:
        lines.append(f"set -- {words}")
    return "\n".join(lines) + "\n"


def head_lines(meta: Mapping[str, Any], prolog: Sequence[str]) -> list[str]:
    """The line for the wrapper, and the one for the engine."""
    head = f"# {meta['task']} {meta['limit']} {meta['grace']} {1 if prolog else 0} {meta['log']}"
    return [head, "# " + json.dumps(meta, separators=(",", ":"))]


def environment_lines(environment: Mapping[str, str], limits: Sequence[tuple[str, int, int]] = ()) -> list[str]:
    """What a shell exports and limits before it becomes the job."""
    lines = [f"export {name}={quote(value)}" for name, value in environment.items() if is_name(name)]
    for name, soft, hard in limits:
        if name in _ULIMITS:
            option, unit = _ULIMITS[name]
            soft_text, hard_text = (str(value // unit) if value >= 0 else "unlimited" for value in (soft, hard))
            lines.append(f"ulimit -S -{option} {soft_text} 2>/dev/null")
            lines.append(f"ulimit -H -{option} {hard_text} 2>/dev/null; ulimit -S -{option} {soft_text} 2>/dev/null")
    return lines


def command_words(argv: Sequence[str], environment: Mapping[str, str]) -> str:
    """The command; variables whose names no shell can have are set by `env`."""
    odd = [f"{name}={value}" for name, value in environment.items() if not is_name(name)]
    words = " ".join(map(quote, argv))
    return "env " + " ".join(map(quote, odd)) + " " + words if odd else words


def meta_of(text: str) -> dict[str, Any]:
    """What `order_text` was given as ``meta``. Raises ValueError."""
    lines = text.split("\n", 2)
    if len(lines) < 3:
        raise ValueError("not an order")
    found: dict[str, Any] = json.loads(lines[1].removeprefix("# "))
    return found


def cannot_be_said(argv: Sequence[str], environment: Mapping[str, str], image: str) -> str:
    """Why these can never be given to a program, "" if they can."""
    if not argv or not argv[0]:
        return cannot_start(argv, image, 0)
    if any("\0" in text for text in (*argv, *environment, *environment.values())):
        return cannot_start(argv, image, 22)
    return ""
