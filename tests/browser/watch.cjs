// Opens pages and does what a reader would: node watch.cjs PLAN.json, a list of steps
//   {"open": URL} {"see": text} {"draw": seconds} {"wheel": lines} {"picture": file}
//   {"log in": [name, password]} at the archive's form, {"log in at": name} at the provider's
// and prints as JSON each answer that was no success, each PDF's media type, where the page
// is at the end, and for each request of DICOMweb its origin and what it shows of its caller.
const { readFileSync } = require('node:fs');
const [plan, library, browser, profile] = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const { chromium } = require(library);

const SMALL = 40; // width of the picture in which shades are counted

// Waits until the largest canvas shows a picture: more than a few shades.
async function drawn(page, seconds) {
  const shades = small => {
    const all = [...document.querySelectorAll('canvas')].filter(one => one.width && one.height);
    const largest = all.sort((a, b) => b.width * b.height - a.width * a.height)[0];
    if (!largest) return 0;
    const copy = new OffscreenCanvas(small, small).getContext('2d');
    copy.drawImage(largest, 0, 0, small, small);
    return new Set(copy.getImageData(0, 0, small, small).data.filter((_, n) => n % 4 === 0)).size;
  };
  const end = Date.now() + seconds * 1000;
  let seen = 0;
  while (Date.now() < end && (seen = await page.evaluate(shades, SMALL)) < 8) await page.waitForTimeout(200);
  if (seen < 8) throw new Error(`nothing was drawn: ${seen} shades`);
  await page.waitForTimeout(1500);
}

async function main() {
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: browser,
    viewport: { width: 1400, height: 900 },
    args: ['--no-sandbox', '--use-gl=angle', '--use-angle=swiftshader', '--enable-unsafe-swiftshader',
      '--disable-dev-shm-usage', '--disable-background-networking', '--disable-component-update',
      '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1'],
  });
  const page = await context.newPage();
  const refused = [], pdfs = [], asked = [];
  context.on('response', answer => {
    if (answer.status() >= 400) refused.push(`${answer.status()} ${answer.url()}`);
    if ((answer.headers()['content-type'] || '').includes('application/pdf')) pdfs.push(answer.url());
  });
  context.on('request', request => {
    const { origin, pathname } = new URL(request.url());
    if (pathname.startsWith('/dicom-web')) asked.push([origin, request.headers().authorization || '']);
  });
  for (const step of plan) {
    if (step.wait) await page.waitForTimeout(step.wait * 1000);
    if (step.open) await page.goto(step.open, { waitUntil: 'load' });
    if (step['log in']) {
      const [name, password] = step['log in'];
      await page.locator('input[name=name]').fill(name);
      await page.locator('input[name=password]').fill(password);
      await page.locator('button').click();
    }
    if (step['log in at']) {
      await page.locator('input[name=login]').fill(step['log in at']);
      await page.locator('input[name=password]').fill('any');
      await page.locator('button[type=submit]').click();
      await page.getByText('Continue').click();
    }
    if (step.see) await page.getByText(step.see).first().waitFor({ timeout: 60000 });
    if (step.draw) await drawn(page, step.draw);
    if (step.wheel) {
      await page.mouse.move(700, 450);
      for (let line = 0; line < step.wheel; line++) { await page.mouse.wheel(0, 100); await page.waitForTimeout(120); }
      await page.waitForTimeout(1500);
    }
    for (let n = 0; step.pdf && !pdfs.length && n < step.pdf * 5; n++) await page.waitForTimeout(200);
    if (step.picture) await page.screenshot({ path: step.picture });
  }
  const at = page.url();
  await context.close();
  console.log(JSON.stringify({ refused, pdfs, at, asked: asked.map(one => one.join(' ').trim()) }));
}

main().catch(error => { console.error(error); process.exit(1); });
