// Elements of a page. Text is always set as text, so nothing that a file says can become markup.

export function element(tag, properties = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
        if (name in made && name !== 'list') made[name] = value;
        else made.setAttribute(name, value);
    }
    made.append(...children.flat().filter((child) => child !== null && child !== undefined));
    return made;
}

export function options(select, entries, chosen = '') {
    select.replaceChildren(...entries.map(([value, text]) => new Option(text, value, false, value === chosen)));
}

// Names in order, numbers in them by their value: `labels-0.25` before `labels-0.5` before `labels-1`.
export function byName(a, b) {
    const [x, y] = [a, b].map((name) => String(name).split(/(\d+(?:\.\d+)?)/));
    for (let at = 0; at < Math.min(x.length, y.length); at += 1) {
        const order = at % 2 ? Number(x[at]) - Number(y[at]) : x[at].localeCompare(y[at], 'en');
        if (order) return order;
    }
    return x.length - y.length;
}

// A name that may be broken after each slash.
export function breakable(name) {
    return name.split(/(?<=\/)/).flatMap((part) => [part, element('wbr')]);
}

// The values that rows have, each once, sorted.
export function distinct(values) {
    const known = values.filter((value) => value !== null && value !== undefined);
    return [...new Set(known)].sort(byName);
}

export function shortNumber(value) {
    if (value === null || value === undefined || Number.isNaN(value)) return '–';
    if (value !== 0 && (Math.abs(value) >= 1e5 || Math.abs(value) < 1e-3)) return value.toExponential(2);
    return String(Number(value.toPrecision(4)));
}

export function describe(pairs) {
    const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== '');
    return element('dl', {}, shown.flatMap(([name, value]) => [element('dt', {}, name), element('dd', {}, value)]));
}

export function table(head, rows) {
    return element('div', { className: 'wide' }, element('table', {},
        element('thead', {}, element('tr', {}, head.map((text) => element('th', { scope: 'col' }, text)))),
        element('tbody', {}, rows.map((row) => element('tr', {}, row.map((cell) =>
            cell instanceof Node ? cell : element('td', {}, String(cell)))))),
    ));
}
