// One volume with overlays on a canvas. Everything that is asked of NiiVue is asked here.

import { MULTIPLANAR_TYPE, NVImage, Niivue, SHOW_RENDER, SLICE_TYPE } from '../vendor/niivue/niivue.js';

// The share of the voxels above 0 that is darker, and brighter, than the grey values that are told apart.
const PERCENTILE = 0.01;
// So many voxels tell which grey values those are.
const SAMPLES = 50_000;

export const PLANES = {
    planes: { title: 'Three planes', type: SLICE_TYPE.MULTIPLANAR },
    axial: { title: 'Axial', type: SLICE_TYPE.AXIAL },
    coronal: { title: 'Coronal', type: SLICE_TYPE.CORONAL },
    sagittal: { title: 'Sagittal', type: SLICE_TYPE.SAGITTAL },
    render: { title: 'Render', type: SLICE_TYPE.RENDER },
};

const OPTIONS = {
    backColor: [0, 0, 0, 1],
    crosshairColor: [0.45, 0.8, 1, 0.9],
    crosshairWidth: 1,
    crosshairWidthUnit: 'mm',
    multiplanarShowRender: SHOW_RENDER.ALWAYS,
    multiplanarLayout: MULTIPLANAR_TYPE.GRID,
    isCornerOrientationText: true,
    show3Dcrosshair: true,
    isColorbar: false,
    dragAndDropEnabled: false,
    loadingText: '',
    logLevel: 'error',
    // The page has keys of its own.
    viewModeHotKey: 'None',
    clipPlaneHotKey: 'None',
    cycleClipPlaneHotKey: 'None',
};

// Tells values of label maps apart; as far as possible also for people who do not see red and green.
const PALETTE = [
    [213, 94, 0], [86, 180, 233], [240, 228, 66], [0, 158, 115], [204, 121, 167], [0, 114, 178], [230, 159, 0],
];

export function colourOf(value) {
    return PALETTE[(value - 1) % PALETTE.length];
}

// Colours for the values of a label map; 0 is transparent.
function lookup(highest, colours) {
    const values = Array.from({ length: highest + 1 }, (_, value) => value);
    const of = (value) => (value === 0 ? [0, 0, 0] : colours?.[value] ?? colourOf(value));
    const channel = (index) => values.map((value) => of(value)[index]);
    return { R: channel(0), G: channel(1), B: channel(2), A: values.map((value) => (value ? 255 : 0)), I: values };
}

function highest(image) {
    return image.img.reduce((most, value) => Math.max(most, value), 0);
}

// The grey values that are told apart. NiiVue looks for them in every voxel of the middle half of a volume, which takes a good part of the
// time until a case is shown; voxels spread over that half (by the R3 sequence) say the same.
NVImage.prototype.calMinMax = function calMinMax() {
    const { hdr, img } = this;
    const scaled = (value) => value * (hdr.scl_slope || 1) + hdr.scl_inter;
    const [, nx, ny, nz] = hdr.dims;
    const along = (size, place, step) => Math.floor(size * (0.25 + (place * step % 1) / 2));
    const place = (n) => along(nx, n, 0.8191725134) + nx * (along(ny, n, 0.6710436067) + ny * along(nz, n, 0.5497004779));
    const isUsed = (value) => Number.isFinite(value) && !(this.ignoreZeroVoxels && value === 0);
    const values = Float64Array.from({ length: Math.min(SAMPLES, nx * ny * nz) }, (_, n) => img[place(n)]).filter(isUsed).sort();
    const at = (share) => scaled(values[Math.round(share * (values.length - 1))] ?? 0);
    const isGiven = this.trustCalMinMax && hdr.cal_max > hdr.cal_min;
    const range = isGiven ? [hdr.cal_min, hdr.cal_max] : [at(this.percentileFrac), at(1 - this.percentileFrac)];
    [this.cal_min, this.cal_max] = range;
    [this.robust_min, this.robust_max] = range;
    [this.global_min, this.global_max] = [at(0), at(1)];
    return [...range, this.global_min, this.global_max];
};

// Volumes are rendered without light. NiiVue would find the directions of light for each of them nevertheless, which takes seconds
// without a graphics card: the shaders for that are replaced by one that draws nothing.
function withoutLight(viewer) {
    const { gl } = viewer;
    const program = gl.createProgram();
    for (const [kind, act] of [[gl.VERTEX_SHADER, 'gl_Position = vec4(2.0);'], [gl.FRAGMENT_SHADER, '']]) {
        const shader = gl.createShader(kind);
        gl.shaderSource(shader, `#version 300 es\nvoid main() { ${act} }`);
        gl.compileShader(shader);
        gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    const nothing = { use: () => gl.useProgram(program), uniforms: {} };
    viewer.blurShader = nothing;
    viewer.sobelFirstOrderShader = nothing;
}

export class VolumeView {
    #viewer;
    #overlays = new Map();
    #isMoved = false;
    // Called with the place in mm and the value of the image, when a person moves the cross-hair.
    onMove = () => {};
    // Called with azimuth and elevation, when a person turns the render.
    onTurn = () => {};

    static async on(canvas) {
        const view = new VolumeView();
        view.#viewer = new Niivue(OPTIONS);
        await view.#viewer.attachToCanvas(canvas, false);
        withoutLight(view.#viewer);
        for (const type of ['keydown', 'keyup']) {
            canvas.parentElement.addEventListener(type, (event) => event.stopPropagation(), { capture: true });
        }
        view.#viewer.onLocationChange = ({ mm, values }) => {
            view.value = values[0]?.value;
            if (!view.#isMoved) view.onMove([...mm].slice(0, 3), view.value);
        };
        view.#viewer.onAzimuthElevationChange = (azimuth, elevation) => {
            if (!view.#isMoved) view.onTurn(azimuth, elevation);
        };
        return view;
    }

    async show(bytes, name) {
        const image = await NVImage.new(bytes, name, 'gray', 1, null, NaN, NaN, true, PERCENTILE, true);
        this.#viewer.addVolume(image);
    }

    // `kind`: `labels` with colours by value, or `share` for numbers from 0 to 1.
    async addOverlay(key, bytes, name, kind, colours) {
        const map = kind === 'share' ? 'inferno' : 'gray';
        const image = await NVImage.new(bytes, name, map, 0, null, NaN, NaN, true, PERCENTILE, false);
        if (kind === 'share') {
            [image.cal_min, image.cal_max] = [0.05, 1];
        } else {
            image.setColormapLabel(lookup(highest(image), colours));
        }
        this.#viewer.addVolume(image);
        this.#overlays.set(key, image);
    }

    hasOverlay(key) {
        return this.#overlays.has(key);
    }

    setOpacity(key, opacity) {
        const image = this.#overlays.get(key);
        const index = this.#viewer.volumes.findIndex(({ id }) => id === image?.id);
        if (index > 0) this.#viewer.setOpacity(index, opacity);
    }

    setPlane(plane) {
        this.#viewer.setSliceType(PLANES[plane].type);
    }

    // Shares, 0 to 1, of the usual range of the image.
    setWindow(darkest, brightest) {
        const [image] = this.#viewer.volumes;
        if (!image) return;
        const [from, to] = [image.robust_min, image.robust_max];
        const lowest = from + (to - from) * darkest;
        const highest = from + (to - from) * Math.max(brightest, darkest + 0.01);
        if (image.cal_min === lowest && image.cal_max === highest) return;
        [image.cal_min, image.cal_max] = [lowest, highest];
        this.#viewer.updateGLVolume();
    }

    goTo(mm) {
        this.#quietly(() => {
            this.#viewer.scene.crosshairPos = this.#viewer.mm2frac(mm);
            this.#viewer.createOnLocationChange();
            this.#viewer.drawScene();
        });
    }

    turnTo(azimuth, elevation) {
        this.#quietly(() => this.#viewer.setRenderAzimuthElevation(azimuth, elevation));
    }

    // Moves the cross-hair by voxels to the right, to the front and up.
    step(voxels) {
        this.#viewer.moveCrosshairInVox(...voxels);
    }

    // Place and value again, as after a move.
    report() {
        this.#viewer.createOnLocationChange();
    }

    close() {
        this.#viewer.cleanup();
        this.#viewer.gl.getExtension('WEBGL_lose_context')?.loseContext();
    }

    // What the program moves is not passed on to the other views again.
    #quietly(act) {
        this.#isMoved = true;
        try {
            act();
        } finally {
            this.#isMoved = false;
        }
    }
}
