// Asks the server that the page came from, by addresses relative to the page: they contain the token.

import { element } from './elements.js';

export async function ask(address) {
    const answer = await fetch(address);
    if (!answer.ok) throw new Error((await answer.text()).trim() || `${address}: ${answer.status}`);
    return answer.json();
}

export async function askBytes(address) {
    const answer = await fetch(address);
    if (!answer.ok) throw new Error((await answer.text()).trim() || `${address}: ${answer.status}`);
    return answer.arrayBuffer();
}

export function showProblem(error, where = document.querySelector('main')) {
    const gone = error instanceof TypeError;
    const text = gone ? 'The viewer does not answer: brainmvp view may have ended.' : error.message;
    where.querySelector(':scope > .problem')?.remove();
    where.prepend(element('p', { className: 'problem', role: 'alert' }, text));
}

// Runs the main function of a page, and shows what goes wrong.
export async function start(main) {
    header().catch(() => {});
    try {
        await main();
    } catch (error) {
        showProblem(error);
    }
}

async function header() {
    const here = location.pathname.split('/').pop();
    const page = { 'case.html': './' }[here] ?? (here || './');
    document.querySelector(`header a[href="${page}"]`)?.setAttribute('aria-current', 'page');
    const { opened } = await ask('api/overview');
    const entries = opened.map(({ kind, title, problem }) => element('li', {},
        problem ? element('span', { className: 'chip bad' }, 'not shown') : null,
        ` ${kind}: ${title}${problem && !problem.startsWith(title) ? `: ${problem}` : ''}`));
    document.querySelector('#opened ul').replaceChildren(...entries);
    const problems = opened.filter(({ problem }) => problem).length;
    if (problems) document.querySelector('#opened summary').append(` (${problems} not shown)`);
}
