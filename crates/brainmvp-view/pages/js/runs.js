// Runs: curves over each other, followed while they train; differences of configuration; pictures.

import { ask, showProblem, start } from './api.js';
import { Chart } from './chart.js';
import { breakable, element, options, shortNumber, table } from './elements.js';

const EVERY_MS = 2000;
const MOST_RUNS = 8;
// These say when, not how well.
const NO_CURVES = ['step', 'epoch', 'best'];

const by = (selector) => document.querySelector(selector);

let runs = [];
const chosen = new Map();
let chart;

// What has been read of a chosen run.
class Followed {
    records = { metrics: { next: 0, columns: {} }, validation: { next: 0, columns: {} } };

    constructor(number, detail) {
        this.number = number;
        this.detail = detail;
    }

    static async of(number) {
        const followed = new Followed(number, await ask(`api/runs/${number}`));
        await followed.read();
        return followed;
    }

    // Reads what was added; whether there was something.
    async read() {
        const read = await Promise.all(Object.entries(this.records).map(async ([name, record]) => {
            const more = await ask(`api/runs/${this.number}/${name}?from=${record.next}`);
            if (more.begins) record.columns = {};
            record.next = more.next;
            join(record.columns, more.columns);
            return more.lines > 0;
        }));
        return read.includes(true);
    }

    curves() {
        return Object.values(this.records).flatMap(({ columns }) => Object.keys(columns));
    }

    curve(name) {
        const record = Object.values(this.records).find(({ columns }) => name in columns);
        return record ? { steps: record.columns.step, values: record.columns[name] } : null;
    }
}

function join(columns, more) {
    const before = columns.step?.length ?? 0;
    const added = more.step?.length ?? 0;
    for (const name of new Set([...Object.keys(columns), ...Object.keys(more)])) {
        columns[name] ??= Array(before).fill(null);
        // One by one: a long record has more values than a call may have arguments.
        for (const value of more[name] ?? Array(added).fill(null)) columns[name].push(value);
    }
}

const STATES = { running: 'good', done: '', stopped: 'warn', silent: 'warn', failed: 'bad', unreadable: 'bad' };

function drawRuns() {
    const wanted = by('#name').value.trim().toLowerCase();
    const row = (run) => {
        const box = element('input', {
            type: 'checkbox', checked: chosen.has(run.number), 'aria-label': `Show ${run.name}`,
            onchange: () => choose(run.number, box.checked).catch(showProblem),
        });
        const best = run.best ? `${run.best.metric} ${shortNumber(run.best.value)} at ${run.best.step}` : '–';
        const steps = run.steps ? `${run.step ?? 0} of ${run.steps}` : String(run.step ?? 0);
        return element('tr', {}, element('td', {}, box), element('td', {}, breakable(run.name)),
            element('td', {}, run.kind ?? '–'),
            element('td', {}, element('span', { className: `chip ${STATES[run.state]}`, title: run.reason ?? '' }, run.state)),
            element('td', { className: 'number' }, steps),
            element('td', { className: 'number' }, shortNumber(run.loss)),
            element('td', { className: 'number' }, best));
    };
    const focused = document.activeElement?.getAttribute('aria-label');
    by('#runs tbody').replaceChildren(...runs.filter((run) => run.name.toLowerCase().includes(wanted)).map(row));
    if (focused?.startsWith('Show ')) by(`#runs input[aria-label="${CSS.escape(focused)}"]`)?.focus();
}

async function choose(number, isChosen) {
    if (isChosen && chosen.size >= MOST_RUNS) {
        drawRuns();
        throw new Error(`At most ${MOST_RUNS} runs are shown over each other.`);
    }
    if (isChosen) chosen.set(number, await Followed.of(number));
    else chosen.delete(number);
    history.replaceState(null, '', `?${[...chosen.keys()].map((key) => `run=${key}`).join('&')}`);
    drawChosen();
}

const nameOf = (number) => runs.find((run) => run.number === number)?.name ?? String(number);

function drawChosen() {
    by('#chosen').hidden = chosen.size === 0;
    const names = new Set([...chosen.values()].flatMap((followed) => followed.curves()));
    const known = [...names].filter((name) => !NO_CURVES.includes(name));
    const before = by('#curve').value;
    options(by('#curve'), known.map((name) => [name, name.replaceAll('_', ' ')]), known.includes(before) ? before : 'loss');
    drawCurves();
    drawConfig();
    drawPictures();
}

function drawCurves() {
    const of = ([number, followed]) => ({ name: nameOf(number), ...followed.curve(by('#curve').value) });
    const curves = [...chosen].map(of).filter(({ steps }) => steps);
    chart.show(curves, by('#log').checked);
    const last = curves.map(({ steps }) => steps.at(-1) ?? 0);
    by('#live').textContent = curves.length ? `up to step ${Math.max(...last)}` : 'nothing has been written yet';
}

// All keys of one run; of several, those that differ.
function drawConfig() {
    const configs = [...chosen].map(([number, { detail }]) => [nameOf(number), detail.config]);
    const keys = [...new Set(configs.flatMap(([, config]) => Object.keys(config)))].sort();
    const value = (config, key) => config[key] ?? '–';
    const differing = keys.filter((key) => new Set(configs.map(([, config]) => value(config, key))).size > 1);
    const shown = configs.length > 1 ? differing : keys;
    const rows = shown.map((key) => [key, ...configs.map(([, config]) => value(config, key))]);
    const title = configs.length > 1 ? `Configuration: ${differing.length} of ${keys.length} keys differ` : 'Configuration';
    const body = table(['Key', ...configs.map(([name]) => name)], rows);
    by('#config').replaceChildren(element('details', { open: configs.length > 1 }, element('summary', {}, title), body));
}

// A slider over the steps at which the run drew its pictures.
function drawPictures() {
    const figures = [...chosen].flatMap(([number, { detail }]) => detail.pictures.map(({ tag, pictures }) => {
        const steps = Object.keys(pictures).map(Number).sort((a, b) => a - b);
        const image = element('img', { alt: '' });
        const slider = element('input', { type: 'range', min: 0, max: steps.length - 1, value: steps.length - 1, hidden: steps.length < 2 });
        const caption = element('figcaption', {});
        const title = chosen.size > 1 ? `${tag}, ${nameOf(number)}` : tag;
        const draw = () => {
            const step = steps[Number(slider.value)];
            image.src = pictures[step];
            image.alt = `${title} at step ${step}`;
            slider.setAttribute('aria-valuetext', `step ${step}`);
            caption.textContent = `${title}: step ${step}`;
        };
        slider.setAttribute('aria-label', `Step of ${title}`);
        slider.oninput = draw;
        draw();
        return element('figure', {}, caption, slider, element('div', { className: 'wide' }, image));
    }));
    by('#pictures').replaceChildren(...(figures.length ? [element('h2', {}, 'Pictures'), ...figures] : []));
}

async function follow() {
    try {
        runs = await ask('api/runs');
        drawRuns();
        const read = await Promise.all([...chosen.values()].map((followed) => followed.read()));
        if (read.includes(true)) drawCurves();
        by('main > .problem')?.remove();
    } catch (error) {
        showProblem(error);
    }
    setTimeout(follow, document.hidden ? 5 * EVERY_MS : EVERY_MS);
}

start(async () => {
    runs = await ask('api/runs');
    chart = new Chart(by('#chart'));
    const heads = ['', 'Name', 'Of', 'State', 'Step', 'Loss', 'Best'];
    by('#runs thead').append(element('tr', {}, heads.map((text, index) =>
        element('th', { scope: 'col', className: index > 3 ? 'number' : '' }, text))));
    by('#name').oninput = drawRuns;
    by('#curve').onchange = drawCurves;
    by('#log').onchange = drawCurves;
    by('#chosen').hidden = true;
    if (!runs.length) {
        by('#columns').replaceWith(element('p', { className: 'muted' }, 'No run was opened.'));
        return;
    }
    const asked = new URLSearchParams(location.search).getAll('run').map(Number);
    const live = runs.filter(({ state }) => state === 'running').map(({ number }) => number);
    for (const number of (asked.length ? asked : [...live, runs[0].number].slice(0, 1)).slice(0, MOST_RUNS)) {
        chosen.set(number, await Followed.of(number));
    }
    drawRuns();
    drawChosen();
    setTimeout(follow, EVERY_MS);
});
