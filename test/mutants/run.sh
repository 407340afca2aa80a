#!/bin/bash
# Takes out one security check after the other (mutants.txt) in a copy of the tree, and runs the tests that must notice.
# Writes one line for each: caught, with the first test that failed, or MISSED. Run it from the top of the tree; a
# pattern as its argument chooses mutants. The package may be followed by flags of go test; for those of test/ the
# programs are built first.
set -eu
list=$PWD/test/mutants/mutants.txt
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git ls-files -z | xargs -0 cp --parents -t "$copy"
missed=0
run() {
	case $pkg in ./test/*) make build || { echo 'build failed' && return 1; } ;; esac
	go test -count=1 -failfast -timeout 5m "${tests[@]}"
}
while IFS= read -r line; do
	# A field may be empty: tabs, as blanks, would be taken together.
	IFS=$'\x1f' read -r file pkg old new what <<<"${line//$'\t'/$'\x1f'}"
	case $file in '' | '#'*) continue ;; esac
	[[ "$file $what" =~ ${1:-.} ]] || continue
	if ! OLD=$old NEW=$new perl -0pe 'BEGIN { $o = $ENV{OLD}; $n = $ENV{NEW} } $c = s/\Q$o\E/$n/; END { exit($c ? 0 : 1) }' "$file" >"$copy/$file"; then
		printf 'STALE\t%s\t%s\n' "$file" "$what"
		missed=$((missed + 1))
	else
		read -ra tests <<<"$pkg"
		out=$(cd "$copy" && run 2>&1 </dev/null) && rc=0 || rc=$?
		if [ "$rc" = 0 ]; then
			printf 'MISSED\t%s\t%s\n' "$file" "$what"
			missed=$((missed + 1))
		else
			if grep -q 'build failed' <<<"$out"; then
				printf 'BROKEN\t%s\t%s\n' "$file" "$what"
				missed=$((missed + 1))
				cp "$file" "$copy/$file"
				continue
			fi
			test=$(grep -oE -m1 -- '--- FAIL: \S+' <<<"$out" | cut -d' ' -f3 || true)
			printf 'caught\t%s\t%s\t%s\n' "$file" "$what" "${test:-?}"
		fi
	fi
	cp "$file" "$copy/$file"
done <"$list"
exit $((missed > 0))
