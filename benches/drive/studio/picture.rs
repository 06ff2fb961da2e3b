//! Pictures out of nothing but a seed: smooth light, hard edges, and over it the noise of a sensor, so that no tool
//! finds anything easy in them; and strokes painted on them, as retouching leaves them.

use crate::data::SplitMix64;

/// Pixels of a picture: 25 MB at three bytes each.
pub(crate) const WIDTH: usize = 3456;
pub(crate) const HEIGHT: usize = 2412;
const CHANNELS: usize = 3;
const ROW_BYTES: usize = WIDTH * CHANNELS;

/// Cells of the light's lattices in pixels, and how much each adds, in steps of 255.
const OCTAVES: [(usize, f32); 4] = [(768, 70.0), (256, 30.0), (96, 14.0), (24, 6.0)];
/// Rectangles of another tone: walls, windows, furniture.
const SHAPES: usize = 40;
/// Standard deviation of the sensor's noise in the dark, and what the light adds to it (its square root, as photons do).
const NOISE_DARK: f32 = 0.8;
const NOISE_LIGHT: f32 = 0.15;

/// Brush strokes of one save, and their measures in pixels.
const STROKES: u64 = 4;
const STROKE_RADIUS: (u64, u64) = (20, 70);
const STROKE_LENGTH: (u64, u64) = (200, 700);
/// Standard deviation of the noise that a stroke paints.
const STROKE_NOISE: f32 = 10.0;
/// How much of a stroke is its own colour; the rest shows what was there.
const STROKE_COVER: f32 = 0.35;

/// A picture of [`WIDTH`] by [`HEIGHT`] pixels, as a program holds it that is open on it.
pub(crate) struct Picture {
    rgb: Vec<u8>,
    /// What was done to it, in words; it is stored in the file and grows, so that the pixels move.
    diary: String,
}

impl Picture {
    /// The picture that `seed` gives.
    pub(crate) fn new(seed: u64) -> Picture {
        let mut random = SplitMix64(seed);
        let lattices = OCTAVES.map(|(cell, height)| Lattice::new(cell, height, &mut random));
        let shapes: Vec<Shape> = (0..SHAPES).map(|_| Shape::new(&mut random)).collect();
        let warmth = [1.0 + unit(&mut random) * 0.12, 1.0, 1.0 - unit(&mut random) * 0.18];
        let mut rgb = vec![0; ROW_BYTES * HEIGHT];
        let mut light = vec![0.0; WIDTH];
        for (y, row) in rgb.chunks_mut(ROW_BYTES).enumerate() {
            light.fill(128.0);
            lattices.iter().for_each(|lattice| lattice.add(y, &mut light));
            shapes.iter().for_each(|shape| shape.add(y, &mut light));
            expose(row, &light, &warmth, &mut random);
        }
        Picture { rgb, diary: String::from("opened") }
    }

    /// Paints the strokes that `seed` gives. Returns how many bytes of the pixels are others now.
    pub(crate) fn paint(&mut self, seed: u64) -> usize {
        let before = self.rgb.clone();
        let mut random = SplitMix64(seed);
        for _ in 0..STROKES {
            let stroke = Stroke::new(&mut random);
            stroke.paint(&mut self.rgb, &mut random);
        }
        self.diary += &format!("; {STROKES} strokes, {seed:x}");
        before.iter().zip(&self.rgb).filter(|(old, new)| old != new).count()
    }

    /// A binary PPM file.
    pub(crate) fn ppm(&self) -> Vec<u8> {
        [format!("P6 {WIDTH} {HEIGHT} 255\n").as_bytes(), &self.rgb].concat()
    }

    /// An uncompressed TIFF file with the diary in front of the pixels, in strips as GIMP writes them.
    pub(crate) fn tiff(&self) -> Vec<u8> {
        tiff(&self.rgb, &self.diary)
    }
}

/// Random heights at the crossings of a grid, smooth between them.
struct Lattice {
    cell: usize,
    columns: usize,
    heights: Vec<f32>,
}

impl Lattice {
    fn new(cell: usize, height: f32, random: &mut SplitMix64) -> Lattice {
        let (columns, rows) = (WIDTH / cell + 2, HEIGHT / cell + 2);
        let heights = (0..columns * rows).map(|_| (unit(random) * 2.0 - 1.0) * height).collect();
        Lattice { cell, columns, heights }
    }

    /// Adds row `y` to `light`.
    fn add(&self, y: usize, light: &mut [f32]) {
        let (above, down) = (y / self.cell, smooth(y % self.cell, self.cell));
        let at = |column: usize| {
            let upper = self.heights[above * self.columns + column];
            let lower = self.heights[(above + 1) * self.columns + column];
            upper + (lower - upper) * down
        };
        for (column, pixels) in light.chunks_mut(self.cell).enumerate() {
            let (left, right) = (at(column), at(column + 1));
            for (x, pixel) in pixels.iter_mut().enumerate() {
                *pixel += left + (right - left) * smooth(x, self.cell);
            }
        }
    }
}

/// A rectangle that is lighter or darker than what lies behind it.
struct Shape {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
    tone: f32,
}

impl Shape {
    fn new(random: &mut SplitMix64) -> Shape {
        Shape {
            left: below(random, WIDTH as u64) as usize,
            top: below(random, HEIGHT as u64) as usize,
            width: below(random, 900) as usize,
            height: below(random, 700) as usize,
            tone: unit(random) * 80.0 - 40.0,
        }
    }

    fn add(&self, y: usize, light: &mut [f32]) {
        if (self.top..self.top + self.height).contains(&y) {
            let right = light.len().min(self.left + self.width);
            light[self.left..right].iter_mut().for_each(|pixel| *pixel += self.tone);
        }
    }
}

/// A row of pixels as a sensor sees this light.
fn expose(row: &mut [u8], light: &[f32], warmth: &[f32; 3], random: &mut SplitMix64) {
    for (pixel, light) in row.chunks_mut(CHANNELS).zip(light) {
        for ((byte, warmth), noise) in pixel.iter_mut().zip(warmth).zip(bells(random)) {
            let seen = (light * warmth).clamp(8.0, 247.0);
            *byte = (seen + noise * (NOISE_DARK + NOISE_LIGHT * seen.sqrt())).round() as u8;
        }
    }
}

/// A straight stroke with a round brush.
struct Stroke {
    from: (f32, f32),
    along: (f32, f32),
    length: f32,
    radius: f32,
    colour: [f32; CHANNELS],
}

impl Stroke {
    fn new(random: &mut SplitMix64) -> Stroke {
        let angle = unit(random) * std::f32::consts::TAU;
        Stroke {
            from: (unit(random) * WIDTH as f32, unit(random) * HEIGHT as f32),
            along: (angle.cos(), angle.sin()),
            length: between(random, STROKE_LENGTH),
            radius: between(random, STROKE_RADIUS),
            colour: std::array::from_fn(|_| unit(random) * 255.0),
        }
    }

    fn paint(&self, rgb: &mut [u8], random: &mut SplitMix64) {
        let (columns, rows) =
            (self.span(self.from.0, self.along.0), self.span(self.from.1, self.along.1));
        for y in rows.0..rows.1.min(HEIGHT) {
            for x in columns.0..columns.1.min(WIDTH) {
                if self.covers(x, y) {
                    let at = y * ROW_BYTES + x * CHANNELS;
                    self.dab(&mut rgb[at..at + CHANNELS], random);
                }
            }
        }
    }

    /// What the stroke can reach in one direction.
    fn span(&self, from: f32, along: f32) -> (usize, usize) {
        let to = from + along * self.length;
        (
            (from.min(to) - self.radius).max(0.0) as usize,
            (from.max(to) + self.radius).max(0.0) as usize,
        )
    }

    /// Whether the brush came over this pixel: its distance from the line.
    fn covers(&self, x: usize, y: usize) -> bool {
        let (dx, dy) = (x as f32 - self.from.0, y as f32 - self.from.1);
        let walked = (dx * self.along.0 + dy * self.along.1).clamp(0.0, self.length);
        let (ox, oy) = (dx - walked * self.along.0, dy - walked * self.along.1);
        ox * ox + oy * oy <= self.radius * self.radius
    }

    fn dab(&self, pixel: &mut [u8], random: &mut SplitMix64) {
        for ((byte, colour), noise) in pixel.iter_mut().zip(self.colour).zip(bells(random)) {
            let mixed = f32::from(*byte) * (1.0 - STROKE_COVER) + colour * STROKE_COVER;
            *byte = (mixed + noise * STROKE_NOISE).clamp(0.0, 255.0) as u8;
        }
    }
}

/// Types of a TIFF field.
const ASCII: u16 = 2;
const SHORT: u16 = 3;
const LONG: u16 = 4;
const ROWS_PER_STRIP: usize = 64;

/// An uncompressed TIFF: header, directory, what the directory points to, strips.
fn tiff(rgb: &[u8], diary: &str) -> Vec<u8> {
    let lengths: Vec<u32> =
        rgb.chunks(ROW_BYTES * ROWS_PER_STRIP).map(|strip| strip.len() as u32).collect();
    // Twice, since where the strips begin depends on how long the directory is, and not on what it says.
    let begin = directory(&lengths, 0, diary).len() as u32;
    let mut file = directory(&lengths, begin, diary);
    file.extend_from_slice(rgb);
    file
}

/// Everything in front of the strips, the first of which begins at `begin`.
fn directory(lengths: &[u32], begin: u32, diary: &str) -> Vec<u8> {
    let offsets: Vec<u32> = lengths
        .iter()
        .scan(begin, |at, length| {
            *at += length;
            Some(*at - length)
        })
        .collect();
    let longs = |values: &[u32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let shorts = |values: &[u16]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let text = [diary.as_bytes(), b"\0"].concat();
    let fields: [(u16, u16, Vec<u8>); 10] = [
        (256, LONG, longs(&[WIDTH as u32])),
        (257, LONG, longs(&[HEIGHT as u32])),
        (258, SHORT, shorts(&[8, 8, 8])),
        (259, SHORT, shorts(&[1])),
        (262, SHORT, shorts(&[2])),
        (270, ASCII, text),
        (273, LONG, longs(&offsets)),
        (277, SHORT, shorts(&[CHANNELS as u16])),
        (278, LONG, longs(&[ROWS_PER_STRIP as u32])),
        (279, LONG, longs(lengths)),
    ];
    let (mut table, mut data) = (Vec::new(), Vec::new());
    let data_at = 8 + 2 + 12 * fields.len() + 4;
    for (tag, kind, mut value) in fields {
        let count = value.len() as u32 / unit_bytes(kind);
        table.extend(shorts(&[tag, kind]));
        table.extend(longs(&[count]));
        if value.len() > 4 {
            table.extend(longs(&[(data_at + data.len()) as u32]));
            value.resize(value.len().next_multiple_of(2), 0);
            data.extend(value);
        } else {
            value.resize(4, 0);
            table.extend(value);
        }
    }
    let head = [b"II*\0".to_vec(), longs(&[8]), shorts(&[10]), table, longs(&[0]), data];
    head.concat()
}

fn unit_bytes(kind: u16) -> u32 {
    match kind {
        SHORT => 2,
        LONG => 4,
        _ => 1,
    }
}

/// A number from 0 to 1.
fn unit(random: &mut SplitMix64) -> f32 {
    (random.next() >> 40) as f32 / (1u64 << 24) as f32
}

fn below(random: &mut SplitMix64, limit: u64) -> u64 {
    random.next() % limit
}

fn between(random: &mut SplitMix64, (least, most): (u64, u64)) -> f32 {
    (least + below(random, most - least)) as f32
}

fn smooth(at: usize, cell: usize) -> f32 {
    let t = at as f32 / cell as f32;
    t * t * (3.0 - 2.0 * t)
}

/// Three numbers of about the normal distribution, each a sum of five even ones.
fn bells(random: &mut SplitMix64) -> [f32; CHANNELS] {
    /// Standard deviation of a sum of five numbers of 4 bits.
    const SPREAD: f32 = 10.308;
    let mut bits = random.next();
    std::array::from_fn(|_| {
        let mut sum = 0;
        for _ in 0..5 {
            sum += bits & 15;
            bits >>= 4;
        }
        (sum as f32 - 37.5) / SPREAD
    })
}
