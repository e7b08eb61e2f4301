// What is known of a case besides its volumes.

import { describe, element, shortNumber, table } from './elements.js';

export function facts(shown) {
    return [summary(shown), troubles(shown), scores(shown.scores), steps(shown.groups), pictures(shown.pictures)]
        .filter((part) => part !== null);
}

function section(title, ...children) {
    return element('section', {}, element('h2', {}, title), ...children);
}

function summary(shown) {
    const labels = Object.entries(shown.labels).map(([value, name]) => `${value} ${name}`).join(', ');
    return section('Case', describe([
        ['Data set', shown.data_set], ['Subject', shown.subject], ['Site', shown.site], ['Class', shown.class],
        ['Split', shown.split], ['Labels', labels],
    ]));
}

function troubles({ quarantined, flags }) {
    if (!quarantined.length && !flags.length) return null;
    const item = (className, word) => (reason) =>
        element('li', {}, element('span', { className: `chip ${className}` }, word), ` ${reason}`);
    return section('Notes', element('ul', {},
        quarantined.map(item('bad', 'left out')), flags.map(item('warn', 'flagged'))));
}

// One row for what was scored and its region, a column for each metric; the mean where there are several (seeds, folds).
function scores(all) {
    if (!all.length) return null;
    const metrics = [...new Set(all.map(({ metric }) => metric))];
    const rows = new Map();
    for (const { of, region, metric, value } of all) {
        const key = `${of}\n${region}`;
        if (!rows.has(key)) rows.set(key, new Map());
        const row = rows.get(key);
        if (value !== null) row.set(metric, [...(row.get(metric) ?? []), value]);
    }
    const mean = (values) => (values ? values.reduce((a, b) => a + b) / values.length : null);
    const cells = ([key, row]) => [...key.split('\n'),
        ...metrics.map((metric) => element('td', { className: 'number' }, shortNumber(mean(row.get(metric)))))];
    return section('Scores', table(['Of', 'Region', ...metrics], [...rows].map(cells)));
}

function steps(groups) {
    const known = groups.filter((group) => group.steps.length);
    if (!known.length) return null;
    return section('Where the volumes come from', describe(known.map((group) =>
        [`${group.title} (${group.stage})`, group.steps.join(', ')])));
}

function pictures(addresses) {
    if (!addresses.length) return null;
    return section('Report', addresses.map((address) => element('a', { href: address },
        element('img', { src: address, alt: 'The images of the case, drawn by the report', loading: 'lazy' }))));
}
