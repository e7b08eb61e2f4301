// The list of cases: filters, worst first.

import { ask, start } from './api.js';
import { byName, distinct, element, options } from './elements.js';

const ROWS = 300;

const COLUMNS = [
    { name: 'Case', value: (row) => row.id },
    { name: 'Data set', value: (row) => row.data_set },
    { name: 'Site', value: (row) => row.site },
    { name: 'Class', value: (row) => row.class },
    { name: 'Split', value: (row) => row.split },
    { name: 'Modalities', value: (row) => row.modalities.length },
    { name: 'Label', value: (row) => (row.has_label ? 'yes' : 'no') },
    { name: 'Dice', value: (row) => diceOf(row), number: true },
    { name: 'State', value: (row) => trouble(row) },
];

let rows = [];
let modalities = [];
const known = new Map();
let shown = ROWS;
let sorting = { column: 'worst', descending: false };

const form = document.querySelector('#filters');

// The Dice of the chosen scores, or the lowest of all.
function diceOf(row) {
    const values = form.elements.of.value ? [row.dice[form.elements.of.value]] : Object.values(row.dice);
    const known = values.filter((value) => value !== undefined);
    return known.length ? Math.min(...known) : null;
}

// 2 left out, 1 flagged, 0 neither; negative, so that the worst come first.
function trouble(row) {
    return -(row.quarantined.length ? 2 : row.flags.length ? 1 : 0);
}

// Cases with a low Dice first, then those that were left out or flagged.
function worst(a, b) {
    const [x, y] = [diceOf(a), diceOf(b)];
    if (x !== y) return (x ?? Infinity) - (y ?? Infinity);
    return trouble(a) - trouble(b) || byName(a.id, b.id);
}

function compare(a, b) {
    if (sorting.column === 'worst') return worst(a, b);
    const { value } = COLUMNS.find(({ name }) => name === sorting.column);
    const [x, y] = [value(a), value(b)];
    if (x === null || y === null) return (x === null) - (y === null);
    const order = typeof x === 'number' ? x - y : byName(x, y);
    return (sorting.descending ? -order : order) || worst(a, b);
}

function passes(row) {
    const { name, data_set: dataSet, site, missing, below, flagged, quarantined } = form.elements;
    return row.id.toLowerCase().includes(name.value.trim().toLowerCase())
        && (!dataSet.value || row.data_set === dataSet.value)
        && (!site.value || row.site === site.value)
        && (!missing.value || !row.modalities.includes(missing.value))
        && (below.value === '' || (diceOf(row) !== null && diceOf(row) < Number(below.value)))
        && (!flagged.checked || row.flags.length > 0)
        && (!quarantined.checked || row.quarantined.length > 0);
}

function state(row) {
    const part = (className, word, reasons) => (reasons.length ? element('details', {},
        element('summary', {}, element('span', { className: `chip ${className}` }, word),
            reasons.length > 1 ? ` ${reasons.length} reasons` : ''),
        reasons.map((reason) => element('div', {}, reason))) : null);
    return [part('bad', 'left out', row.quarantined), part('warn', 'flagged', row.flags)];
}

// The modalities that cases of the same data set have.
function others({ data_set: dataSet }) {
    if (!known.has(dataSet)) {
        known.set(dataSet, new Set(rows.filter((row) => row.data_set === dataSet).flatMap((row) => row.modalities)));
    }
    return known.get(dataSet);
}

function line(row) {
    const dice = diceOf(row);
    return element('tr', {},
        element('td', {}, element('a', { href: `case.html?case=${row.number}` }, row.id)),
        [row.data_set, row.site, row.class, row.split].map((text) => element('td', {}, text ?? '')),
        element('td', {}, modalities.map((name) => (row.modalities.includes(name)
            ? element('span', { className: 'chip' }, name)
            : others(row).has(name) ? element('span', { className: 'chip absent' }, `no ${name}`) : null))),
        element('td', {}, row.has_label ? 'yes' : ''),
        element('td', { className: 'number' }, dice === null ? '' : dice.toFixed(3)),
        element('td', { className: 'state' }, state(row)));
}

function draw() {
    const passing = rows.filter(passes).sort(compare);
    document.querySelector('#cases tbody').replaceChildren(...passing.slice(0, shown).map(line));
    const order = sorting.column === 'worst' ? 'worst first' : `by ${sorting.column.toLowerCase()}`;
    document.querySelector('#count').textContent = `${passing.length} of ${rows.length} cases, ${order}`;
    document.querySelector('#more').hidden = passing.length <= shown;
    document.querySelectorAll('#cases th').forEach((head) => {
        const chosen = head.dataset.name === sorting.column;
        if (chosen) head.setAttribute('aria-sort', sorting.descending ? 'descending' : 'ascending');
        else head.removeAttribute('aria-sort');
    });
    // What is shown travels with the address, and the order with the case pages.
    const kept = new URLSearchParams([...new FormData(form)].filter(([, value]) => value !== ''));
    history.replaceState(null, '', kept.size ? `?${kept}` : './');
    sessionStorage.setItem('cases', JSON.stringify(passing.map(({ number }) => number)));
}

function heads() {
    const sort = (name) => () => {
        sorting = { column: name, descending: sorting.column === name && !sorting.descending };
        draw();
    };
    const head = ({ name, number }) => element('th', { scope: 'col', className: number ? 'number' : '', 'data-name': name },
        element('button', { type: 'button', onclick: sort(name) }, name));
    document.querySelector('#cases thead tr').replaceChildren(...COLUMNS.map(head));
}

function choices() {
    const any = (values, text) => [['', text], ...values.map((value) => [value, value])];
    options(form.elements.data_set, any(distinct(rows.map((row) => row.data_set)), 'any'));
    options(form.elements.site, any(distinct(rows.map((row) => row.site)), 'any'));
    options(form.elements.missing, any(modalities, 'any or none'));
    options(form.elements.of, any(distinct(rows.flatMap((row) => Object.keys(row.dice))), 'all, the lowest'));
    for (const [name, value] of new URLSearchParams(location.search)) {
        const field = form.elements[name];
        if (field?.type === 'checkbox') field.checked = true;
        else if (field) field.value = value;
    }
}

start(async () => {
    ({ cases: rows } = await ask('api/cases'));
    modalities = distinct(rows.flatMap((row) => row.modalities));
    choices();
    heads();
    form.addEventListener('input', () => { shown = ROWS; draw(); });
    form.addEventListener('submit', (event) => event.preventDefault());
    form.addEventListener('reset', () => setTimeout(() => {
        sorting = { column: 'worst', descending: false };
        draw();
    }));
    document.querySelector('#more').onclick = () => { shown += ROWS; draw(); };
    draw();
});
