# Prints C sources without comments and without what stands in string and character literals, each
# line with its file and number. A line in an #include keeps its name.
function strip(line,    out, i, c, two)
{
    out = ""
    for (i = 1; i <= length(line); i++) {
        c = substr(line, i, 1)
        two = substr(line, i, 2)
        if (in_comment) {
            if (two == "*/") {
                in_comment = 0
                i++
            }
        } else if (two == "/*") {
            in_comment = 1
            out = out " "
            i++
        } else if (two == "//") {
            break
        } else if ((c == "\"" || c == "'") && line !~ /^[ \t]*#[ \t]*include/) {
            out = out c
            for (i++; i <= length(line) && substr(line, i, 1) != c; i++)
                if (substr(line, i, 1) == "\\")
                    i++
            out = out c
        } else {
            out = out c
        }
    }
    return out
}

FNR == 1 { in_comment = 0 }
{ print FILENAME ":" FNR ":" strip($0) }
