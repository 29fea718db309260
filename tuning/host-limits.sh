#!/usr/bin/env bash
# Sets the limits of this host that Floodplain runs into, shows them, and takes every change back.
# What each one does and what it was measured to do: README.md beside this file.
#
#   host-limits.sh show              what is set now, and what `set` would make of it
#   host-limits.sh set  [--dry-run]  raise what is too low; makes nothing tighter
#   host-limits.sh undo [--dry-run]  put back what `set` found
#
#   --user NAME      whose limits are raised in limits.d (default: floodplain)
#   --service NAME   whose systemd unit gets a drop-in (default: floodplain)
#
# `set` writes down what it finds before it changes it, in /var/lib/floodplain-host-limits, and may be run again: the
# first note of a value stays. A kernel setting that somebody else has changed since is left alone by `undo`.
set -euo pipefail

# For tests: a directory that stands for / where files are written. Kernel settings are the kernel's all the same.
ROOT=${FLOODPLAIN_TUNING_ROOT:-}
STATE=$ROOT/var/lib/floodplain-host-limits
SYSCTL_FILE=$ROOT/etc/sysctl.d/90-floodplain.conf
user=floodplain
service=floodplain
dry=no

# Setting, what it should be, and how to tell that it is good already: at least, or at most.
SYSCTLS=(
    "kernel.io_uring_disabled 0 at-most"
    "net.core.somaxconn 4096 at-least"
)
MEMLOCK=unlimited
NOFILE=65536

fail() {
    printf 'host-limits.sh: %s\n' "$1" >&2
    exit 1
}

usage() {
    sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p;}' "$0"
}

need_root() {
    if [ "$dry" = no ] && [ "$(id -u)" != 0 ]; then
        fail "changing the host's limits needs root; run it with sudo, or with --dry-run to see what it would do"
    fi
}

# Says what is done, and does it unless this is a dry run.
act() {
    local what=$1
    shift
    if [ "$dry" = yes ]; then
        printf 'would %s\n' "$what"
    else
        "$@"
        printf '%s\n' "$what"
    fi
}

proc_path() { printf '/proc/sys/%s' "${1//.//}"; }
current() { cat "$(proc_path "$1")"; }
write_sysctl() { printf '%s\n' "$2" >"$(proc_path "$1")"; }
limits_file() { printf '%s/etc/security/limits.d/90-%s.conf' "$ROOT" "$user"; }
drop_in() { printf '%s/etc/systemd/system/%s.service.d/90-host-limits.conf' "$ROOT" "$service"; }

good() {
    local now=$1 wanted=$2 how=$3
    case $how in
        at-least) [ "$now" -ge "$wanted" ] ;;
        at-most) [ "$now" -le "$wanted" ] ;;
    esac
}

# Keeps the first value that was ever found, so that a second `set` does not note its own work.
remember_sysctl() {
    local name=$1 before=$2 wanted=$3
    mkdir -p "$STATE/sysctl"
    [ -e "$STATE/sysctl/$name" ] || printf '%s %s\n' "$before" "$wanted" >"$STATE/sysctl/$name"
}

# Replaces a file in one step, and notes that it was there before, or that it was not.
put_file() {
    local path=$1 content=$2 note
    note=$STATE/files/$(printf '%s' "${path#"$ROOT"}" | tr / %)
    mkdir -p "$STATE/files" "$(dirname "$path")"
    if [ ! -e "$note" ] && [ ! -e "$note.absent" ]; then
        if [ -e "$path" ]; then cp -p "$path" "$note"; else : >"$note.absent"; fi
    fi
    printf '%s\n' "$content" >"$path.new"
    chmod 0644 "$path.new"
    mv "$path.new" "$path"
}

offer_file() {
    local path=$1 content=$2
    if [ -e "$path" ] && [ "$(cat "$path")" = "$content" ]; then
        printf 'as wanted: %s\n' "$path"
    else
        act "write $path" put_file "$path" "$content"
    fi
}

set_sysctl() {
    remember_sysctl "$1" "$2" "$3"
    write_sysctl "$1" "$3"
}

set_all() {
    need_root
    local line name wanted how now lines=""
    for line in "${SYSCTLS[@]}"; do
        read -r name wanted how <<<"$line"
        if [ ! -e "$(proc_path "$name")" ]; then
            printf 'this kernel has no %s: nothing to do\n' "$name"
            continue
        fi
        now=$(current "$name")
        if [ -e "$STATE/sysctl/$name" ]; then lines+="$name = $wanted"$'\n'; fi
        if good "$now" "$wanted" "$how"; then
            printf 'as wanted: %s = %s\n' "$name" "$now"
            continue
        fi
        act "set $name from $now to $wanted" set_sysctl "$name" "$now" "$wanted"
        case $lines in *"$name = "*) ;; *) lines+="$name = $wanted"$'\n' ;; esac
    done
    # Only what had to be changed is made to last: no default is pinned that a later kernel may raise.
    if [ -n "$lines" ]; then
        offer_file "$SYSCTL_FILE" "# Written by Floodplain's tuning/host-limits.sh; its undo removes it."$'\n'"${lines%$'\n'}"
    fi
    offer_file "$(limits_file)" "# Written by Floodplain's tuning/host-limits.sh; its undo removes it. For new logins of this user.
$user soft memlock $MEMLOCK
$user hard memlock $MEMLOCK
$user soft nofile $NOFILE
$user hard nofile $NOFILE"
    # Limits of logins do not reach services.
    offer_file "$(drop_in)" "# Written by Floodplain's tuning/host-limits.sh; its undo removes it.
[Service]
LimitMEMLOCK=infinity
LimitNOFILE=$NOFILE"
    reload_systemd
}

put_back_file() {
    local note=$1 path
    path=$ROOT$(basename "${note%.absent}" | tr % /)
    if [ "${note%.absent}" != "$note" ]; then
        rm -f "$path"
        # The drop-in's directory is ours if nothing else is in it.
        case $path in *.service.d/*) rmdir --ignore-fail-on-non-empty "$(dirname "$path")" 2>/dev/null || true ;; esac
    else
        cp -p "$note" "$path"
    fi
    rm -f "$note"
}

put_back_sysctl() {
    write_sysctl "$1" "$2"
    rm -f "$STATE/sysctl/$1"
}

undo_all() {
    need_root
    local note name before ours now
    if [ ! -d "$STATE" ]; then
        printf 'nothing to undo: %s is not there\n' "$STATE"
        return
    fi
    for note in "$STATE"/sysctl/*; do
        [ -e "$note" ] || continue
        name=$(basename "$note")
        read -r before ours <"$note"
        now=$(current "$name")
        if [ "$now" = "$ours" ]; then
            act "set $name from $now back to $before" put_back_sysctl "$name" "$before"
        else
            printf 'left alone: %s is %s, which is not what was set (%s)\n' "$name" "$now" "$ours"
            [ "$dry" = yes ] || rm -f "$note"
        fi
    done
    for note in "$STATE"/files/*; do
        [ -e "$note" ] || continue
        case $note in
            *.absent) act "remove $ROOT$(basename "${note%.absent}" | tr % /)" put_back_file "$note" ;;
            *) act "restore $ROOT$(basename "$note" | tr % /)" put_back_file "$note" ;;
        esac
    done
    if [ "$dry" = no ]; then
        rmdir "$STATE/sysctl" "$STATE/files" "$STATE" 2>/dev/null || true
        if [ -d "$STATE" ]; then fail "$STATE is not empty; what is left in it was not undone"; fi
    fi
    reload_systemd
}

reload_systemd() {
    if [ -z "$ROOT" ] && [ -d /run/systemd/system ]; then
        act "have systemd read its units again" systemctl daemon-reload
    fi
}

show() {
    local line name wanted how now verdict
    for line in "${SYSCTLS[@]}"; do
        read -r name wanted how <<<"$line"
        if [ ! -e "$(proc_path "$name")" ]; then
            printf '%-32s this kernel has none\n' "$name"
            continue
        fi
        now=$(current "$name")
        if good "$now" "$wanted" "$how"; then verdict=ok; else verdict="to be $wanted"; fi
        printf '%-32s %-12s %s\n' "$name" "$now" "$verdict"
    done
    printf '%-32s %-12s of this shell, KiB, hard; services and other users have their own\n' memlock "$(ulimit -H -l)"
    printf '%-32s %-12s of this shell, hard; likewise\n' nofile "$(ulimit -H -n)"
    for line in "$SYSCTL_FILE" "$(limits_file)" "$(drop_in)"; do
        if [ -e "$line" ]; then printf '%s: is there\n' "$line"; else printf '%s: is not there\n' "$line"; fi
    done
    if [ -d "$STATE" ]; then printf 'undo would put back what is noted in %s\n' "$STATE"; fi
}

command=${1:-}
[ $# -eq 0 ] || shift
while [ $# -gt 0 ]; do
    case $1 in
        --dry-run) dry=yes ;;
        --user | --service)
            [ $# -ge 2 ] || fail "$1 needs a name"
            case $2 in '' | -* | *[!A-Za-z0-9_.-]*) fail "$2 is no name of a user or a service" ;; esac
            if [ "$1" = --user ]; then user=$2; else service=$2; fi
            shift
            ;;
        *) fail "what is $1? See host-limits.sh --help" ;;
    esac
    shift
done
case $command in
    set) set_all ;;
    undo) undo_all ;;
    show) show ;;
    -h | --help | help) usage ;;
    '') fail "say what to do: show, set or undo (see --help)" ;;
    *) fail "what is $command? It is show, set or undo (see --help)" ;;
esac
