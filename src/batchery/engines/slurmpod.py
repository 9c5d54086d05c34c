"""Several containers of one attempt on a node of a Slurm cluster: sh again, and the same rules as core/pod.py. Pure.

Theory of operation
-------------------
To the wrapper (slurmscript.py) the script below is the job. It runs in the attempt's working directory, reads the table
of containers from ``order``, and lives on lines that come through a fifo: from itself when it is told to end, from the
clocks that it sets, and from a subshell for each container, which starts it in a session of its own and waits for it.
After each line it does what core/pod.py would: leaves out what can never begin, begins what may, and once it is
stopping tells those to end on which nothing alive leans, with SIGTERM and, after their time, SIGKILL.

What happens is told in ``tale``, a line each: ``begun NUMBER``, ``over NUMBER CODE``, ``never NUMBER WORDS``, and at
last ``closed CAUSE``. ``started`` is written when everything has been started. A tale without its last line is one of a
script that was killed; what had begun was killed with it. A file ``hurry`` means: SIGKILL at once.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from batchery.core.model import ContainerEnd
from batchery.engines.engine import Container
from batchery.engines.images import cannot_start
from batchery.engines.slurmscript import command_words, environment_lines, head_lines, quote

KILLED: Final = 137

#: Shell functions: a process of its own becomes a container. The caller says what is done when it does.
BECOME: Final = r"""_b_fail() { # NUMBER WORDS
  echo "$2" >"../failed.$1"
  exit 127
}
_b_become() { # NUMBER: in a process of its own, which becomes the container
  _b_phase=pod _b_number=$1
  eval "_b_log=\$_log_$1"
  unset OLDPWD PWD
  . ../order
  case $1 in
    */*) [ -e "$1" ] || _b_fail "$_b_number" 'no such file or directory'
      [ -f "$1" ] && [ -x "$1" ] || _b_fail "$_b_number" 'permission denied' ;;
    *) command -v "$1" >/dev/null || _b_fail "$_b_number" 'no such file or directory' ;;
  esac
  exec </dev/null >>"$_b_log" 2>&1
  _b_has_begun "$_b_number"
  exec $_b_setsid "$@"
}
"""

POD: Final = (
    r"""# Batchery's pod script: runs the containers of one attempt. Made by the server; changes here are lost.
_b_at=$1 _b_news=$2 _b_node=$3 _b_job=$4 _b_wrapper=$5 _b_limit=$6
exec 2>/dev/null
mkfifo ../fifo
exec 3<>../fifo
trap 'echo stop >&3' TERM
if [ -x /usr/bin/setsid ]; then _b_setsid=/usr/bin/setsid; else _b_setsid=; fi
_b_phase=table
. ../order
_b_i=0
while [ "$_b_i" -lt "$_b_n" ]; do
  eval "_s_$_b_i=W _c_$_b_i= _t_$_b_i= _p_$_b_i= _l_$_b_i="
  _b_i=$((_b_i + 1))
done
_b_stopping= _b_broken= _b_cut= _b_running= _b_clocks=

_b_say() { echo "$*" >>../tale; }
_b_clock() { # SECONDS WORDS: a line of these in so many seconds
  $_b_setsid /bin/sh -c 'sleep "$1"; echo "$2" 1<>../fifo' sh "$1" "$2" 3>&- </dev/null >/dev/null &
  _b_clocks="$_b_clocks $!"
}
_b_signal() { # NAME NUMBER
  if [ -n "$_b_hosts" ] && [ "$2" != 0 ]; then : >"../$1.$2"; return; fi
  eval "_b_p=\$_p_$2"
  [ -n "$_b_p" ] || return 0
  kill -"$1" -"$_b_p" || kill -"$1" "$_b_p"
}
"""
    + BECOME
    + r"""
_b_has_begun() { echo "begun $1" >&3; exec 3>&-; }
_b_far() { # NUMBER: a container of another task of this job (slurmhosts.py); this is what waits for it
  : >"../go.$1"
  until [ -e "../begun.$1" ] || [ -s "../code.$1" ]; do sleep 0.2; done
  [ ! -e "../begun.$1" ] || echo "begun $1" >&3
  exec 3>&-
  until [ -s "../code.$1" ]; do sleep 0.2; done
  read -r _b_code <"../code.$1"
  exit "$_b_code"
}
_b_meet() { # all tasks have said where they are: every host is told
  _b_i=0
  while [ "$_b_i" -lt "$_b_n" ]; do
    until [ -s "../host.$_b_i" ] || [ -e ../kill ]; do sleep 0.2; done
    _b_i=$((_b_i + 1))
  done
  [ ! -e ../kill ] || { _b_stopping=1; return; }
  _b_i=0
  while [ "$_b_i" -lt "$_b_n" ]; do
    eval "_b_x=\$_hosts_$_b_i"
    _b_j=0
    while [ "$_b_j" -lt "$_b_n" ]; do
      eval "_b_nj=\$_name_$_b_j"
      read -r _b_y <"../host.$_b_j"
      echo "$_b_y $_b_nj"
      _b_j=$((_b_j + 1))
    done >"$_b_x"
    _b_i=$((_b_i + 1))
  done
}
_b_live() { # NUMBER
  trap : TERM URG
  if [ -n "$_b_hosts" ] && [ "$1" != 0 ]; then (trap '' TERM; _b_far "$1") & else (trap - TERM URG; _b_become "$1") & fi
  _b_p=$!
  echo "pid $1 $_b_p" >&3
  _b_code=
  while :; do
    wait "$_b_p"
    _b_got=$?
    [ "$_b_got" = 127 ] && [ -n "$_b_code" ] || _b_code=$_b_got
    kill -0 "$_b_p" || break
  done
  kill -KILL -"$_b_p"
  echo "end $1 $_b_code" >&3
}
_b_leave() { # NUMBER WORDS
  eval "_s_$1=N _b_e=\$_essential_$1 _b_d=\$_decides_$1"
  _b_say "never $1 $2"
  [ "$_b_e" = 0 ] || _b_stopping=1
  [ "$_b_d" = 0 ] || _b_broken=1
}
_b_consider() { # NUMBER: one that waits
  if [ -n "$_b_stopping" ]; then
    _b_cut=1
    eval "_s_$1=N"
    _b_say "never $1"
    return
  fi
  eval "_b_after=\$_after_$1"
  _b_ready=1
  for _b_x in $_b_after; do
    _b_j=${_b_x%%:*} _b_k=${_b_x#*:}
    eval "_b_sj=\$_s_$_b_j _b_cj=\$_c_$_b_j _b_nj=\$_name_$_b_j _b_tj=\$_t_$_b_j"
    case $_b_sj:$_b_k in
      N:*) _b_leave "$1" "dependency $_b_nj was not started"; return ;;
      E:SUCCESS)
        if [ "$_b_cj" != 0 ]; then _b_leave "$1" "dependency $_b_nj exited with $_b_cj"; return; fi ;;
      E:* | R:START) ;;
      R:*)
        if [ -n "$_b_tj" ]; then
          _b_leave "$1" "dependency $_b_nj did not reach $_b_k in $_b_tj s"
          return
        fi
        _b_ready= ;;
      *) _b_ready= ;;
    esac
  done
  [ -n "$_b_ready" ] || return 0
  eval "_s_$1=B"
  _b_live "$1" &
}
_b_end() { # NUMBER: one that is alive, while all is to end
  eval "_b_si=\$_s_$1 _b_li=\$_l_$1 _b_ti=\$_stop_$1"
  if [ -e ../hurry ]; then
    [ "$_b_li" = kill ] || { eval "_l_$1=kill"; _b_clock 1 "again $1"; }
    _b_signal KILL "$1"
    return
  fi
  [ "$_b_si" = R ] && [ -z "$_b_li" ] || return 0
  _b_y=0
  while [ "$_b_y" -lt "$_b_n" ]; do
    eval "_b_sy=\$_s_$_b_y _b_ay=\$_after_$_b_y"
    case $_b_sy:" $_b_ay" in [BR]:*" $1:"*) return ;; esac
    _b_y=$((_b_y + 1))
  done
  eval "_l_$1=term"
  _b_signal TERM "$1"
  _b_clock "$_b_ti" "again $1"
}
_b_step() {
  _b_again=1
  while [ -n "$_b_again" ]; do
    _b_again= _b_i=0
    while [ "$_b_i" -lt "$_b_n" ]; do
      eval "_b_s=\$_s_$_b_i"
      if [ "$_b_s" = W ]; then
        _b_consider "$_b_i"
        eval "_b_s=\$_s_$_b_i"
        [ "$_b_s" = W ] || _b_again=1
      fi
      _b_i=$((_b_i + 1))
    done
  done
  _b_i=0 _b_all=
  while [ "$_b_i" -lt "$_b_n" ]; do
    eval "_b_s=\$_s_$_b_i"
    _b_all=$_b_all$_b_s
    case $_b_s in [BR]) [ -z "$_b_stopping" ] || _b_end "$_b_i" ;; esac
    _b_i=$((_b_i + 1))
  done
  case $_b_running$_b_broken$_b_cut$_b_all in
    *[!ERN]*) ;;
    *[ER]*)
      _b_running=1
      echo "$_b_node $_b_job" >"$_b_at/started"
      : >"$_b_news.began"
      [ "$_b_limit" = 0 ] || _b_clock "$_b_limit" late ;;
  esac
}

[ -z "$_b_hosts" ] || _b_meet
_b_step
while :; do
  case $_b_all in *[WBR]*) ;; *) break ;; esac
  read -r _b_what _b_i _b_v <&3 || continue
  case $_b_what in
    stop) _b_stopping=1 ;;
    late) : >"$_b_at/late"; kill -TERM "$_b_wrapper" ;;
    pid) eval "_p_$_b_i=$_b_v" ;;
    begun)
      eval "_s_$_b_i=R _b_t=\$_start_$_b_i"
      _b_say "begun $_b_i"
      [ "$_b_t" = 0 ] || _b_clock "$_b_t" "slow $_b_i" ;;
    slow) eval "_t_$_b_i=\$_start_$_b_i" ;;
    again)
      eval "_b_s=\$_s_$_b_i"
      case $_b_s in [BR]) _b_signal KILL "$_b_i"; _b_clock 1 "again $_b_i" ;; esac ;;
    end)
      if [ -e "../failed.$_b_i" ]; then
        read -r _b_v <"../failed.$_b_i"
        _b_leave "$_b_i" "$_b_v"
      else
        eval "_s_$_b_i=E _c_$_b_i=$_b_v _b_e=\$_essential_$_b_i _b_f=\$_forgiving_$_b_i"
        _b_say "over $_b_i $_b_v"
        case $_b_e:$_b_f:$_b_v in 0:* | 1:1:0) ;; *) _b_stopping=1 ;; esac
      fi ;;
  esac
  _b_step
done
for _b_p in $_b_clocks; do kill -KILL -"$_b_p" || kill -KILL "$_b_p"; done
if [ -n "$_b_broken" ]; then _b_say 'closed START_FAILED'; else _b_say 'closed EXIT'; fi
exit 0
"""
)

#: As of the wrapper: its name changes with its text.
POD_NAME: Final = f"pod-{hashlib.sha256(POD.encode()).hexdigest()[:12]}"

_ERRORS: Final = {"no such file or directory": 2, "permission denied": 13}

#: What a host is told of its own address.
ADDRESS: Final = "BATCHERY_NODE_IPV4_ADDRESS"


class Run(NamedTuple):
    """What is to be run for one container. ``limits``: ulimits (name, soft, hard)."""

    container: Container
    argv: Sequence[str]
    environment: Mapping[str, str]
    limits: Sequence[tuple[str, int, int]] = ()


def apart(containers: Iterable[Container]) -> bool:
    """Whether each has a task of the job to itself (slurmhosts.py)."""
    return all(one.hosts_file for one in containers)


def pod_text(meta: Mapping[str, Any], runs: Sequence[Run], prolog: Sequence[str], limit: int) -> str:
    """The file ``order`` of several containers: for the wrapper's two phases, and for the pod script's two."""
    lines = head_lines({**meta, "limit": 0}, prolog)
    lines.append("case $_b_phase in")
    first = runs[0]
    if prolog:
        lines += ["prolog)", *environment_lines(first.environment), f"set -- {' '.join(map(quote, prolog))} ;;"]
    start = f'set -- /bin/sh "${{_b_news%/news/*}}/{POD_NAME}" "$_b_at" "$_b_news" "$_b_node" "$_b_job" "$$" {limit} ;;'
    lines += ["job)", "_b_pod=1", start, "table)", *_table(runs), ";;", "pod)", "case $_b_number in"]
    for number, run in enumerate(runs):
        lines += [f"{number})", *environment_lines(run.environment, run.limits)]
        if run.container.hosts_file:
            lines.append(f'read -r {ADDRESS} <"$_b_at/host.{number}"; export {ADDRESS}')
        lines.append(f"set -- {command_words(run.argv, run.environment)} ;;")
    return "\n".join([*lines, "esac ;;", "esac"]) + "\n"


def _table(runs: Sequence[Run]) -> list[str]:
    numbers = {run.container.name: number for number, run in enumerate(runs)}
    lines = [f"_b_n={len(runs)}", f"_b_hosts={'1' if apart(run.container for run in runs) else ''}"]
    for number, run in enumerate(runs):
        one = run.container
        after = " ".join(f"{numbers[name]}:{condition}" for name, condition in one.after)
        for name, value in (
            ("name", one.name),
            ("essential", str(int(one.essential))),
            ("decides", str(int(one.decides))),
            ("forgiving", str(int(one.forgiving))),
            ("after", after),
            ("start", f"{one.start_timeout / 1000:g}"),
            ("stop", f"{one.stop_timeout / 1000:g}"),
            ("log", one.log_path),
            ("hosts", one.hosts_file),
        ):
            lines.append(f"_{name}_{number}={quote(value)}")
    return lines


class Told(NamedTuple):
    """What a tale tells. ``cause``: "" if its script was killed."""

    ends: tuple[ContainerEnd, ...]
    cause: str = ""


def told(tale: str, containers: Sequence[Mapping[str, Any]]) -> Told:
    """``containers``: name, image, program and decides of each, as `meta` has them."""
    ends: list[ContainerEnd] = []
    begun: set[int] = set()
    done: set[int] = set()
    cause = ""
    for line in tale.splitlines():
        what, _, rest = line.partition(" ")
        number, _, words = rest.partition(" ")
        if what == "closed":
            cause = rest
        elif not number.isdigit() or int(number) >= len(containers):
            continue
        elif what == "begun":
            begun.add(int(number))
        else:
            done.add(int(number))
            one = containers[int(number)]
            code = int(words) if what == "over" and words.isdigit() else None
            ends.append(ContainerEnd(one["name"], code, "" if what == "over" else _why(one, words), one["decides"]))
    for place, one in enumerate(containers):
        if place not in done:
            ends.append(ContainerEnd(one["name"], KILLED if place in begun else None, "", one["decides"]))
    return Told(tuple(ends), cause)


def _why(one: Mapping[str, Any], words: str) -> str:
    if not words:
        return ""
    error = _ERRORS.get(words)
    if error is None:
        return f"CannotStartContainerError: {words}"
    return cannot_start((one["program"],), one["image"], error)
