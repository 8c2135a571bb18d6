"""Charts as SVG, without any library: panels side by side, each with lines or points."""
import html
import math

COLOURS = {"kda": "#1b6ca8", "gdn": "#d1761f", "mamba2": "#b03a48", "deltanet": "#3f9142", "gla": "#8458b3",
           "linear": "#777777", "softmax": "#111111"}
OTHERS = ["#1b6ca8", "#d1761f", "#b03a48", "#3f9142", "#8458b3", "#777777", "#111111", "#00a0a0"]
GRID = "<style>.g{stroke:#ddd;stroke-width:1}</style><rect width='100%' height='100%' fill='white'/>"
LEFT, TOP, RIGHT, BOTTOM = 52, 34, 14, 44


def colour(name, i):
    return COLOURS.get(name, OTHERS[i % len(OTHERS)])


def ticks(low, high):
    """Round numbers between two others."""
    step = 10 ** math.floor(math.log10((high - low) or 1))
    while (high - low) / step < 4:
        step /= 2
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in range(first, int(math.floor(high / step + 1e-9)) + 1)]


class Panel:
    """One pair of axes.  lines: name -> [(x, y), ...]; `points` draws no line; `log` has x in powers of two."""

    def __init__(self, title, lines, x="", y="", low=None, high=None, log=False, points=False):
        self.title, self.lines, self.x, self.y = title, lines, x, y
        self.log, self.points = log, points
        ys = [p[1] for line in lines.values() for p in line]
        xs = [p[0] for line in lines.values() for p in line]
        self.low = min(ys) if low is None else low
        self.high = max(ys) if high is None else high
        if self.high <= self.low:
            self.high = self.low + 1
        self.x0, self.x1 = (min(xs), max(xs)) if log else (0, max(xs))

    def at(self, x, y, w, h):
        if self.log:
            part = math.log(x / self.x0) / (math.log(self.x1 / self.x0) or 1)
        else:
            part = (x - self.x0) / (self.x1 - self.x0)
        return LEFT + part * w, TOP + (1 - (y - self.low) / (self.high - self.low)) * h

    def draw(self, w, h, names):
        out = [f"<text x='{LEFT + w / 2:.0f}' y='18' text-anchor='middle' font-weight='bold'>"
               f"{html.escape(self.title)}</text>"]
        for y in ticks(self.low, self.high):
            _, at = self.at(self.x0, y, w, h)
            out.append(f"<path class='g' d='M{LEFT} {at:.1f}h{w}'/><text x='{LEFT - 6}' y='{at + 4:.1f}' "
                       f"text-anchor='end'>{y:g}</text>")
        every = sorted({p[0] for line in self.lines.values() for p in line})
        for x in every if self.log else ticks(self.x0, self.x1):
            at, _ = self.at(x, self.low, w, h)
            out.append(f"<path class='g' d='M{at:.1f} {TOP}v{h}'/><text x='{at:.1f}' y='{TOP + h + 16}' "
                       f"text-anchor='middle'>{x:g}</text>")
        out.append(f"<text x='{LEFT + w / 2:.0f}' y='{TOP + h + 34}' text-anchor='middle'>{html.escape(self.x)}</text>")
        out.append(f"<text transform='translate(13 {TOP + h / 2:.0f}) rotate(-90)' text-anchor='middle'>"
                   f"{html.escape(self.y)}</text>")
        for name, line in self.lines.items():
            c = colour(name, names.index(name))
            spots = [self.at(x, y, w, h) for x, y in line]
            if not self.points:
                path = "L".join(f"{x:.1f} {y:.1f}" for x, y in spots)
                out.append(f"<path d='M{path}' fill='none' stroke='{c}' stroke-width='2'/>")
            if self.points or self.log:
                out += [f"<circle cx='{x:.1f}' cy='{y:.1f}' r='3.5' fill='{c}'/>" for x, y in spots]
        return "".join(out)


def legend(names, y):
    out, x = [], LEFT
    for i, name in enumerate(names):
        out.append(f"<path d='M{x} {y}h22' stroke='{colour(name, i)}' stroke-width='3'/>"
                   f"<text x='{x + 28}' y='{y + 4}'>{html.escape(name)}</text>")
        x += 44 + 7 * len(name)
    return "".join(out)


def save(path, panels, width=300, height=230, columns=3):
    """Panels row after row, and one legend of all their lines."""
    names = list(dict.fromkeys(n for p in panels for n in p.lines))
    rows = -(-len(panels) // columns)
    w, h = LEFT + width + RIGHT, TOP + height + BOTTOM
    total = (min(columns, len(panels)) * w, rows * h + 26)
    out = [f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {total[0]} {total[1]}' font-family='sans-serif' "
           f"font-size='12'>{GRID}"]
    for i, panel in enumerate(panels):
        place = f"translate({i % columns * w} {i // columns * h})"
        out.append(f"<g transform='{place}'>{panel.draw(width, height, names)}</g>")
    out.append(legend(names, rows * h + 8) + "</svg>")
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join(out) + "\n")


def save_dots(path, title, rows, x="", width=560):
    """A line for each (name, [values]): every value a dot, their mean a bar; the first row's mean goes through all."""
    every = [v for _, values in rows for v in values]
    low, high = min(every), max(every)
    low, high = low - 0.05 * (high - low), high + 0.05 * (high - low)
    left, step, top = 170, 26, 40
    h = step * len(rows)

    def at(v):
        return left + (v - low) / (high - low) * width

    out = [f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {left + width + 20} {top + h + 44}' "
           f"font-family='sans-serif' font-size='12'>{GRID}<text x='{left}' y='20' font-weight='bold'>"
           f"{html.escape(title)}</text>"]
    for v in ticks(low, high):
        out.append(f"<path class='g' d='M{at(v):.1f} {top}v{h}'/><text x='{at(v):.1f}' y='{top + h + 16}' "
                   f"text-anchor='middle'>{v:g}</text>")
    base = at(sum(rows[0][1]) / len(rows[0][1]))
    out.append(f"<path d='M{base:.1f} {top}v{h}' stroke='#1b6ca8' stroke-dasharray='4 3'/>")
    for i, (name, values) in enumerate(rows):
        y = top + step * (i + 0.5)
        mean = at(sum(values) / len(values))
        out.append(f"<text x='{left - 8}' y='{y + 4:.1f}' text-anchor='end'>{html.escape(name)}</text>")
        out.append(f"<path d='M{mean:.1f} {y - 8:.1f}v16' stroke='#b03a48' stroke-width='3'/>")
        out += [f"<circle cx='{at(v):.1f}' cy='{y:.1f}' r='3.5' fill='#444'/>" for v in values]
    out.append(f"<text x='{left + width / 2:.0f}' y='{top + h + 36}' text-anchor='middle'>{html.escape(x)}</text>"
               "</svg>")
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join(out) + "\n")
