/** Elements without markup in strings: el("p", {class: "x", onclick: f}, "text", child). */
export function el(name, fields = {}, ...children) {
    const e = document.createElement(name);
    set(e, fields);
    e.append(...children.filter((c) => c !== null && c !== undefined));
    return e;
}

const SVG = "http://www.w3.org/2000/svg";
export function svg(name, fields = {}, ...children) {
    const e = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(fields)) e.setAttribute(key, value);
    e.append(...children);
    return e;
}

function set(e, fields) {
    for (const [key, value] of Object.entries(fields)) {
        if (value === null || value === undefined || value === false) continue;
        if (key.startsWith("on")) e.addEventListener(key.slice(2), value);
        else if (key in e && key !== "list" && typeof value !== "string") e[key] = value;
        else e.setAttribute(key, value === true ? "" : value);
    }
}

export const $ = (id) => document.getElementById(id);

/** Said by screen readers, when they have time. */
export function say(text) {
    const live = $("live");
    live.textContent = "";
    requestAnimationFrame(() => (live.textContent = text));
}

export function number(n) {
    return n >= 1e4 ? n.toLocaleString("en", { maximumFractionDigits: 0 }) : String(Math.round(n * 10) / 10);
}

export function bytes(n) {
    const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let i = 0;
    for (; n >= 1024 && i < 4; i++) n /= 1024;
    return `${i === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)} ${units[i]}`;
}

export function download(name, type, text) {
    const link = el("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
