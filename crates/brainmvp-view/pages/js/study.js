// Studies: the state of their cells, tables and curves.

import { ask, showProblem, start } from './api.js';
import { distinct, element, options, table } from './elements.js';

const EVERY_MS = 5000;
const STATES = { done: ['good', 'done'], running: ['', 'running'], begun: ['', 'begun'], failed: ['bad', 'failed'], left: ['absent', 'to do'] };

const by = (selector) => document.querySelector(selector);
let drawn = '';

// `cells/segmentation/scratch-unetr/labels-0.2/fold-0/seed-0` as row and column of a grid.
function parts({ cell }) {
    const [stage, ...rest] = cell.split('/');
    if (stage === 'pretraining') return { grid: 'Pre-training', row: rest[0], column: rest.slice(1).join(' ') || 'run' };
    return { grid: rest[0], row: rest[1], column: rest.slice(2).join(' ') };
}

function mark(cell) {
    if (!cell) return element('td', {});
    const [className, word] = STATES[cell.state] ?? ['', cell.state];
    const chip = element('span', { className: `chip ${className}`, title: cell.reason ?? '' }, word);
    const minutes = cell.seconds ? ` ${Math.max(1, Math.round(cell.seconds / 60))} min` : '';
    const content = cell.run === null ? chip : element('a', { href: `runs.html?run=${cell.run}` }, chip);
    return element('td', { className: 'cell' }, content, minutes);
}

function grids(cells) {
    const placed = cells.map((cell) => ({ cell, ...parts(cell) }));
    return distinct(placed.map(({ grid }) => grid)).flatMap((name) => {
        const here = placed.filter(({ grid }) => grid === name);
        const columns = distinct(here.map(({ column }) => column));
        const rows = distinct(here.map(({ row }) => row)).map((row) => [row,
            ...columns.map((column) => mark(here.find((one) => one.row === row && one.column === column)?.cell))]);
        const done = here.filter(({ cell }) => cell.state === 'done').length;
        return [element('h2', {}, `${name}: ${done} of ${here.length} done`), table(['', ...columns], rows)];
    });
}

// The best number of each column is set off: the highest, or the lowest of distances, errors and ranks.
function results({ name, rows: [head, ...rows] }) {
    const isLow = (title) => /HD95|ASSD|mm|error|rank/i.test(title);
    const counts = (title) => !/^(p|seeds|difference)/i.test(title);
    const numbers = head.map((title, column) => (counts(title) ? rows.map((row) => Number.parseFloat(row[column])) : [])
        .filter((value, index) => /^[-\d.]+$/.test(rows[index][column])));
    const best = head.map((title, column) => (isLow(title) ? Math.min : Math.max)(...numbers[column]));
    const cell = (text, column) => {
        const isBest = numbers[column].length > 1 && Number.parseFloat(text) === best[column] && /^[-\d.]+$/.test(text);
        return element('td', { className: `${column > 1 ? 'number' : ''} ${isBest ? 'best' : ''}` }, text);
    };
    return [element('h3', {}, name), table(head, rows.map((row) => row.map(cell)))];
}

function draw(study) {
    const failed = study.cells.filter(({ reason }) => reason);
    const parts = [
        element('p', { className: 'muted' }, [study.title, study.kind, study.folder].filter(Boolean).join(', ')),
        study.cells.length ? grids(study.cells) : element('p', {}, 'No cell of this study has begun.'),
        failed.length ? [element('h2', {}, 'Failed'), table(['Cell', 'Reason'], failed.map(({ cell, reason }) => [cell, reason]))] : [],
        study.tables.length ? [element('h2', {}, 'Results'), ...study.tables.flatMap(results)] : [],
        ...Object.entries(study.curves).map(([name, address]) => [element('h2', {}, `Curves: ${name}`),
            element('img', { src: address, alt: `Score over the share of labels: ${name}` })]),
    ];
    by('#content').replaceChildren(...parts.flat(2));
}

async function show() {
    const study = await ask(`api/studies/${by('#study').value}`);
    const text = JSON.stringify(study);
    if (text !== drawn) draw(study);
    drawn = text;
}

async function follow() {
    try {
        await show();
        by('main > .problem')?.remove();
    } catch (error) {
        showProblem(error);
    }
    setTimeout(follow, EVERY_MS);
}

start(async () => {
    const studies = await ask('api/studies');
    if (!studies.length) {
        by('main > label').hidden = true;
        by('#content').append(element('p', { className: 'muted' }, 'No study was opened.'));
        return;
    }
    options(by('#study'), studies.map(({ number, name }) => [String(number), name]));
    by('#study').onchange = () => show().catch(showProblem);
    await show();
    setTimeout(follow, EVERY_MS);
});
