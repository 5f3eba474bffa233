# What apply and check share: where things lie, and what a file of settings says. Read by them, not run.
# They set: here (the folder of the scripts), root (empty: this host), file (the settings).
# shellcheck shell=sh disable=SC2034,SC2154

tab=$(printf '\t')
# A host with less memory, in KiB, keeps its own values of these: they are shares of memory, and the file's are those of a large host.
large_kib=20971520
large_only=" net.ipv4.tcp_mem net.ipv4.tcp_max_orphans vm.min_free_kbytes "
hugepages=/sys/kernel/mm/transparent_hugepage/enabled

say() { printf '%s\n' "$*"; }

complain() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

misuse() {
    complain "$1"
    complain "see $0 --help"
    exit 2
}

# The comment at the head of the script that runs.
help() { awk 'NR == 1 { next } /^#/ { sub(/^# ?/, ""); print; next } { exit }' "$0"; }

# Of an option that wants a value: that there is one.
want_value() { [ "$1" -ge 2 ] || misuse "$2 needs a value"; }

# The settings of the file, a line each: rule, name, its file below the root, value, with tabs between.
settings() {
    awk -v OFS='\t' '
        /^# Rule: / { rule = substr($0, 9); next }
        /^[ \t]*(#|$)/ { next }
        {
            at = index($0, "=")
            name = substr($0, 1, at - 1); value = substr($0, at + 1)
            gsub(/[ \t]+/, " ", value); gsub(/^ | $/, "", value); gsub(/[ \t]/, "", name)
            if (at == 0 || name !~ /^[a-z0-9_.-]+$/ || value !~ /^[0-9]+( [0-9]+)*$/) {
                print FILENAME ": line " FNR " is no setting: " $0 > "/dev/stderr"
                exit 1
            }
            if (rule == "") rule = "at least"
            if (rule != "at least" && rule != "at most" && rule != "exact") {
                print FILENAME ": line " FNR ": the rule before it is unknown: " rule > "/dev/stderr"
                exit 1
            }
            path = name
            gsub(/[.]/, "/", path)
            print rule, name, "/proc/sys/" path, value
            rule = ""
        }' "$file"
}

# The value that a host is to have: by rule $1, where it has $2 and the file says $3. Its own where that is as good.
merged() {
    awk -v rule="$1" -v has="$2" -v wanted="$3" 'BEGIN {
        count = split(wanted, want, " ")
        if (rule == "exact" || split(has, own, " ") != count) { print wanted; exit }
        for (at = 1; at <= count; at++) {
            better = rule == "at least" ? own[at] + 0 >= want[at] + 0 : own[at] + 0 <= want[at] + 0
            printf "%s%s", better ? own[at] : want[at], at < count ? " " : "\n"
        }
    }'
}

# The file of a setting, below the root.
path_of() { printf '%s/proc/sys/%s\n' "$root" "$(printf '%s' "$1" | tr . /)"; }

# The value in a file of the kernel, with single spaces, for $(…); of a choice ("always [madvise] never") the one that is made.
value_in() {
    # Not by the shell's read, which takes a byte at a time: the kernel has an end after the first.
    line=$(cat "$1" 2>/dev/null) || return 1
    case $line in *\[*\]*) line=${line#*\[} line=${line%%\]*} ;; esac
    set -f
    # Unquoted: its words, whatever is between them.
    # shellcheck disable=SC2086
    set -- $line
    printf '%s\n' "$*"
}

# Whether the setting $1 is one of those that this host is too small for. One whose memory cannot be read is taken for large.
too_small_for() {
    case $large_only in *" $1 "*) ;; *) return 1 ;; esac
    kib=$(awk '$1 == "MemTotal:" { print $2; exit }' "$root/proc/meminfo" 2>/dev/null) || kib=
    [ -n "$kib" ] && [ "$kib" -lt "$large_kib" ]
}
