"""The style sheet of the report. s0-s2 are the modes, s4-s7 the matching distances from near to far."""

_LIGHT = """
--page:#fff;--ink:#1b2330;--soft:#5c6879;--rule:#dfe4ea;--panel:#f6f8fa;
--s0:#2563c9;--s1:#d06a10;--s2:#21915a;--s3:#8a4fc0;
--s4:#9cc3f5;--s5:#5b97e8;--s6:#2563c9;--s7:#133a7c;
"""
_DARK = """
--page:#10141b;--ink:#e4e9f0;--soft:#94a1b3;--rule:#2a323e;--panel:#181e27;
--s0:#6ea4ff;--s1:#ffa24d;--s2:#4fcf8f;--s3:#c796f5;
--s4:#2f5796;--s5:#4f82d4;--s6:#7fb0ff;--s7:#c9deff;
"""
_SERIES = "".join(
    f".line.s{i}{{stroke:var(--s{i})}}.bar.s{i}{{fill:var(--s{i})}}i.s{i}{{background:var(--s{i})}}"
    f".h{i}{{--tint:var(--s{i})}}"
    for i in range(8)
)
STYLE = f"""
:root{{color-scheme:light dark;{_LIGHT}}}
@media(prefers-color-scheme:dark){{:root{{{_DARK}}}}}
*{{box-sizing:border-box}}
body{{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,sans-serif}}
main{{max-width:1080px;margin:0 auto;padding:16px 20px 48px}}
h1{{font-size:1.7rem;margin:.6em 0 .2em}}h2{{font-size:1.15rem;margin:2.2em 0 .7em;border-bottom:1px solid var(--rule)}}
.scroll{{overflow-x:auto}}
table{{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.94rem}}
th,td{{padding:.35em .8em;border-bottom:1px solid var(--rule);text-align:left;white-space:nowrap}}
thead th,small,.note{{color:var(--soft);font-weight:normal}}
tbody th{{font-weight:600}}.numbers{{width:100%}}.numbers td,.numbers thead th+th{{text-align:right}}
.facts td{{white-space:normal;overflow-wrap:anywhere}}
.note{{font-size:.88rem}}
figure{{margin:0}}figcaption{{font-size:.88rem;font-weight:600;margin:0 0 .3em}}
.grid{{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(300px,100%),1fr));gap:18px}}
svg{{width:100%;height:auto;display:block;background:var(--panel);border-radius:8px}}
svg text{{fill:var(--soft);font-size:11px}}svg .name{{fill:var(--ink)}}
path.grid{{stroke:var(--rule);fill:none}}path.axis{{stroke:var(--soft);fill:none}}
.line{{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}}.line[d$=h0]{{stroke-width:7}}.faint{{opacity:.3;stroke-width:1.2}}
.wide{{max-width:600px}}.wide svg{{padding:10px 4px}}
.key{{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:.9rem;margin:.2em 0 .8em}}
i{{display:inline-block;width:.8em;height:.8em;border-radius:3px;margin-right:.45em}}
.heat{{background:color-mix(in srgb,var(--tint) calc(var(--v)*60%),transparent)}}.empty{{color:var(--soft)}}
.scroll tbody th{{position:sticky;left:0;background:var(--page)}}
@media(max-width:600px){{main{{padding:12px 12px 40px}}th,td{{padding:.3em .5em}}}}
.frame{{margin:0 0 22px}}.frame img{{width:100%;height:auto;border-radius:8px;display:block}}
.frame figcaption{{font-weight:normal;color:var(--soft);margin-top:.3em}}
details{{margin-top:.8em}}summary{{cursor:pointer;color:var(--soft)}}
{_SERIES}"""
