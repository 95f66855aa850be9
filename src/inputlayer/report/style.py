"""How a report looks: by day, by night, on a phone, on paper."""

STYLE = """
:root{color-scheme:light dark;--back:#fff;--ink:#1d2430;--dim:#5a6472;--soft:#d9dee5;--card:#f6f8fa;
--blue:#2166ac;--orange:#c4530c;--grey:#8a94a3}
@media (prefers-color-scheme:dark){:root{--back:#14181f;--ink:#e4e8ee;--dim:#9aa5b4;--soft:#323a46;--card:#1c222b;
--blue:#6aaee8;--orange:#f0935a;--grey:#7d8898}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:66rem;padding:1.2rem;background:var(--back);color:var(--ink);
font:15px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.7rem;line-height:1.2;margin:.2em 0}h2{font-size:1.25rem;margin:0 0 .6em}
h3{font-size:1rem;margin:1em 0 .4em}
h3 small,small{font-weight:normal;color:var(--dim);font-size:.8rem}
nav{color:var(--dim);font-size:.9rem}a{color:var(--blue)}
section{border-top:1px solid var(--soft);margin-top:1.6rem;padding-top:1.2rem}
.lead{font-size:1.05rem;font-weight:600;margin:.3em 0 .8em}
.end{font-weight:600;text-align:center;border:solid var(--ink);border-width:2px 0;padding:.4em 0}
.wide{overflow-x:auto;margin:.6em 0}
table{border-collapse:collapse;font-size:.87rem;font-variant-numeric:tabular-nums}
th,td{padding:.2em .9em .2em 0;text-align:left;vertical-align:top;overflow-wrap:normal}
thead th{border-bottom:1px solid var(--soft);font-weight:600}
.r{text-align:right;white-space:nowrap}
tbody tr:hover{background:var(--card)}
dl{display:grid;grid-template-columns:minmax(4.5rem,max-content) 1fr;gap:0 .9rem;margin:.5em 0;font-size:.87rem}
dt{color:var(--dim)}dd{margin:0}
figure{margin:.6em 0}figcaption,caption{color:var(--dim);font-size:.82rem;text-align:left}
figure svg{display:block;max-width:100%;height:auto;stroke-linejoin:round}
svg.bars{width:100%;height:2.6rem;border-bottom:1px solid var(--grey)}svg.bars path{fill:var(--blue)}
.ends{display:flex;justify-content:space-between;color:var(--dim);font-size:.78rem}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(17rem,1fr));gap:.9rem}
.card{background:var(--card);border-radius:.5rem;padding:.7rem .9rem}.card h3{margin:0 0 .4em}
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(19rem,100%),1fr));
gap:.4rem 1.4rem;align-items:start}
.common{width:100%}.common td{padding-right:.6em}.share{width:45%}
.share i{display:block;height:.7em;margin-top:.35em;background:var(--blue)}
.passing td,.passing th{min-width:7.5rem;max-width:13rem;padding-right:1.1em}.passing svg.bars{height:1.9rem}
.wide td:first-child,.wide th:first-child{min-width:7em}caption{white-space:nowrap}
.confusion td{text-align:right;padding:.25em .6em;
background:color-mix(in srgb,var(--blue) calc(var(--share)*.55),transparent)}
.key{display:flex;flex-wrap:wrap;gap:.2em 1.2em;font-size:.85rem;color:var(--dim);margin:.3em 0}
.key i{display:inline-block;width:1.6em;border-top:2px solid;vertical-align:.25em;margin-right:.5em}
.grey{color:var(--grey)}.ink{color:var(--ink)}.blue{color:var(--blue)}.orange{color:var(--orange);border-top-style:dashed!important}
details{margin:.4em 0;font-size:.9rem}summary{cursor:pointer;color:var(--blue)}
@media print{:root{--back:#fff;--ink:#000;--dim:#444;--soft:#ccc;--card:#f4f4f4;--blue:#2166ac;--orange:#b34700;
--grey:#777}body{max-width:none;padding:0;font-size:10.5pt}nav,details:not([open]){display:none}
.card,figure,tr{break-inside:avoid}h2,h3{break-after:avoid}.wide{overflow:visible}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""
