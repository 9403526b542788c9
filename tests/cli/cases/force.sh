# An output that exists is replaced with --force alone, and only one that awqc has made.
write_recipe
rtn="--quiet --set quantize.method=rtn"
# shellcheck disable=SC2086 # words, here and below
{
    expect 0 quantize recipe.yaml $rtn
    err_is ""
    cksum out/* >../sums
    expect 1 quantize recipe.yaml --quiet
    err_is "awqc: error: out: exists already, the whole result of an earlier run; it is replaced only where that is asked for (force)"
    cksum out/* | cmp -s - ../sums || fail "the refused run changed the output"
    expect 0 quantize recipe.yaml --quiet --force
    cksum out/* | cmp -s - ../sums && fail "the output was not replaced"
    [ ! -e out.partial ] || fail "the partial directory is still there"

    # What someone has added to a result is not lost with it.
    echo precious >out/notes.md
    expect 1 quantize recipe.yaml --quiet --force
    err_is "awqc: error: out: is not replaced, since it holds notes.md, which is no part of the result (its SHA256SUMS does not list it); move that away first"
    [ "$(cat out/notes.md)" = precious ] || fail "an added file was touched"
    rm out/notes.md

    # Nor where that cannot be told.
    mv out/SHA256SUMS ../sums
    tr 0-9a-f g-v <../sums >out/SHA256SUMS
    expect 1 quantize recipe.yaml --quiet --force
    err_is "awqc: error: out: is not replaced, since its SHA256SUMS is damaged, which would tell the result from what others have added; remove the directory by hand, or name another output"
    mv ../sums out/SHA256SUMS
    expect 0 quantize recipe.yaml --quiet --force

    # What an earlier run was killed in front of removing goes, and the result is called whole.
    touch out/.awq-lock
    echo '{}' >out/awq_journal.json
    expect 1 quantize recipe.yaml --quiet
    err_has "out: exists already, the whole result"
    [ "$(ls -A out | grep -c -e awq-lock -e journal)" = 0 ] || fail "leftovers are still there"

    # Others' directories, checkpoints or not.
    mkdir other repository empty
    echo precious >other/file
    echo precious >repository/thesis.doc
    echo '{}' >repository/config.json
    for directory in other repository other/file; do
        for force in --force ""; do
            expect 1 quantize recipe.yaml $rtn $force --set output=$directory
            err_like "^awqc: error: $directory: exists already, and is no result of libawq .* remove it by hand"
        done
    done
    [ "$(cat other/file)" = precious ] || fail "a directory that is no checkpoint was touched"
    [ "$(cat repository/thesis.doc)" = precious ] || fail "another's checkpoint was touched"
    [ "$(ls)" = "$(printf 'empty\nother\nout\nrecipe.yaml\nrepository')" ] || fail "something else is there"

    # An empty directory is as good as none.
    expect 0 quantize recipe.yaml $rtn --set output=empty
    expect 0 inspect empty
}
