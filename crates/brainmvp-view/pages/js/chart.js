// Curves over steps. Everything that is asked of uPlot is asked here.

import UPlot from '../vendor/uplot/uplot.js';

// At least 3 to 1 against white and against the dark background.
const COLOURS = ['#2f7ed8', '#c2571a', '#23915a', '#b0479a', '#8a7a1d', '#7a66d9', '#cf4456', '#3d8f9e'];
const HEIGHT = 380;

function colourOfCurve(index) {
    return COLOURS[index % COLOURS.length];
}

export class Chart {
    #plot = null;
    #shape = '';

    constructor(place) {
        this.place = place;
        new ResizeObserver(() => this.#plot?.setSize(this.#size())).observe(place);
        matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => { this.#shape = ''; this.redraw?.(); });
    }

    // `curves`: name, and steps and values of the same length. What is not finite is a gap.
    show(curves, isLogarithmic) {
        this.redraw = () => this.show(curves, isLogarithmic);
        const usable = (value) => (value === null || (isLogarithmic && value <= 0) ? null : value);
        const tables = curves.map(({ steps, values }) => [steps, values.map(usable)]);
        const data = tables.length ? UPlot.join(tables) : [[]];
        const shape = JSON.stringify([curves.map(({ name }) => name), isLogarithmic]);
        if (this.#plot && shape === this.#shape) {
            this.#plot.setData(data);
            return;
        }
        this.#shape = shape;
        this.#plot?.destroy();
        this.#plot = curves.length ? new UPlot(this.#options(curves, isLogarithmic), data, this.place) : null;
    }

    #size() {
        return { width: Math.max(280, this.place.clientWidth), height: HEIGHT };
    }

    #options(curves, isLogarithmic) {
        const style = getComputedStyle(document.documentElement);
        const axis = {
            stroke: style.getPropertyValue('--text'),
            grid: { stroke: style.getPropertyValue('--soft') },
            ticks: { stroke: style.getPropertyValue('--soft') },
        };
        const line = ({ name }, index) => ({
            label: name, stroke: colourOfCurve(index), width: 2, spanGaps: true,
            dash: index >= COLOURS.length ? [6, 4] : undefined,
            value: (_, value) => (value === null || value === undefined ? '–' : String(Number(value.toPrecision(5)))),
        });
        return {
            ...this.#size(),
            scales: { x: { time: false }, y: { distr: isLogarithmic ? 3 : 1 } },
            axes: [{ ...axis, label: 'step' }, { ...axis, size: 70 }],
            series: [{ label: 'step' }, ...curves.map(line)],
        };
    }
}
