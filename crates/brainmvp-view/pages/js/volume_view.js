// One volume with overlays on a canvas. Everything that is asked of NiiVue is asked here.

import { NVImage, Niivue, SHOW_RENDER, SLICE_TYPE } from '../vendor/niivue/niivue.js';

// The share of the voxels above 0 that is darker, and brighter, than the grey values that are told apart.
const PERCENTILE = 0.01;

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
        image.cal_min = from + (to - from) * darkest;
        image.cal_max = from + (to - from) * Math.max(brightest, darkest + 0.01);
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
