/* How the page looks: light and dark, narrow and wide. */
#include "page/page.h"

/* Levels of heat maps, from few to many, and colours that differ in lightness as well. */
static const char *const rules[] = {
    ":root{color-scheme:light dark;--page:#f5f6f8;--card:#fff;--ink:#1b1e23;--soft:#59606b;"
    "--line:#d8dce2;--a:#2563c9;--b:#b4540a;--mark:#1b1e23;--warn:#9b1c1c;"
    "--l1:#dbe7fb;--l2:#b3ccf3;--l3:#82a9e8;--l4:#4f82d8;--l5:#275bb2;--l6:#12366f}",
    "@media(prefers-color-scheme:dark){:root{--page:#14161a;--card:#1c1f25;--ink:#e6e8ec;"
    "--soft:#a3abb8;--line:#353a44;--a:#6ea3f2;--b:#e79a54;--mark:#e6e8ec;--warn:#f3a3a3;"
    "--l1:#1f2f4d;--l2:#294677;--l3:#3663a8;--l4:#4d84d6;--l5:#86b0f0;--l6:#c6dbfb}}",
    "body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,sans-serif}",
    "main{max-width:68rem;margin:0 auto;padding:1rem}",
    "h1{font-size:1.6rem;line-height:1.25;overflow-wrap:anywhere}h2{font-size:1.2rem;margin-top:0}",
    "section{background:var(--card);border:1px solid var(--line);border-radius:.5rem;"
    "padding:1rem;margin:1rem 0}",
    "p{max-width:44rem}.soft,caption,figcaption{color:var(--soft)}caption{text-align:left;"
    "padding-bottom:.25rem}.warn{color:var(--warn)}",
    ".scroll{overflow-x:auto}figure{margin:0}.pair{display:grid;gap:1rem;"
    "grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr))}",
    "table{border-collapse:collapse;min-width:50%}th,td{padding:.2rem .6rem;text-align:right;"
    "border-bottom:1px solid var(--line);font-variant-numeric:tabular-nums;white-space:nowrap}",
    "th:first-child,td.text{text-align:left}th{font-weight:600}td.text{white-space:normal}",
    ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:.75rem;"
    "margin:0}.tiles div{border:1px solid var(--line);border-radius:.4rem;padding:.5rem .75rem}"
    ".tiles dt{color:var(--soft);font-size:.85rem}.tiles dd{margin:0;font-size:1.25rem}"
    ".tiles+.scroll{margin-top:1rem}",
    ".bars{width:100%}.track{width:60%;min-width:7rem}.track svg{display:block;width:100%;"
    "height:.9rem}",
    "rect.a,.key.a{fill:var(--a);background:var(--a)}rect.b,.key.b{fill:var(--b);"
    "background:var(--b)}.one{stroke:var(--mark);stroke-width:1;fill:none;"
    "vector-effect:non-scaling-stroke}",
    ".key{display:inline-block;width:.75em;height:.75em;margin-right:.35em;border-radius:.15em}",
    ".map{display:block;width:100%}.l1{fill:var(--l1)}.l2{fill:var(--l2)}.l3{fill:var(--l3)}"
    ".l4{fill:var(--l4)}.l5{fill:var(--l5)}.l6{fill:var(--l6)}",
    ".rare{fill:none;stroke:var(--b);stroke-width:1.5}.dead{fill:none;stroke:var(--warn);"
    "stroke-width:1.5}",
    ".legend{display:flex;flex-wrap:wrap;gap:.25rem 1rem;padding:0;margin:.5rem 0;list-style:none;"
    "font-size:.9rem}.legend svg{width:1em;height:1em;vertical-align:-.1em;margin-right:.35em}",
    "details{margin:.75rem 0}summary{cursor:pointer}pre{overflow-x:auto;font-size:.85rem}",
    "@media(max-width:30rem){body{font-size:15px}main{padding:.5rem}section{padding:.75rem}"
    "th,td{padding:.2rem .35rem;white-space:normal;overflow-wrap:anywhere}table{width:100%}"
    ".track{width:45%;min-width:4rem}}",
    "@media print{section{break-inside:avoid;border:0}}",
};

void awq__page_style(awq__html *html)
{
    awq__html_add(html, "<style>");
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        awq__html_add(html, "%s\n", rules[i]);
    awq__html_add(html, "</style>\n");
}
