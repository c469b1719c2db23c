// Logs in at the provider as a person does, and out again: node log_in.cjs PLAN.json, which holds
// [archive, who, playwright, chromium, profile]. Prints as JSON what was seen.
const { readFileSync } = require('node:fs');
const [archive, who, library, browser, profile] = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const { chromium } = require(library);

const status = (page, path, method) => page.evaluate(
  async ([url, how]) => (await fetch(url, { method: how })).status, [archive + path, method || 'GET']);

async function main() {
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: browser,
    args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--disable-background-networking',
      '--disable-component-update', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1'],
  });
  const page = await context.newPage();
  page.setDefaultTimeout(60000);
  const seen = {};
  await page.goto(`${archive}/docs`);
  seen.before = await status(page, '/dicom-web/studies');
  await page.goto(`${archive}/`, { waitUntil: 'commit' });
  await page.locator('input[name=login]').fill(who);
  await page.locator('input[name=password]').fill('any');
  await page.locator('button[type=submit]').click();
  await page.getByText('Continue').click();
  await page.getByText('Log out').waitFor();
  seen.url = page.url();
  seen.page = await page.locator('.who').innerText();
  seen.cookies = (await context.cookies(archive)).filter(one => one.name.startsWith('fileroom'))
    .map(({ name, httpOnly, sameSite, expires }) => ({ name, httpOnly, sameSite, expires }));
  seen.script = await page.evaluate(() => document.cookie);
  await page.goto(`${archive}/docs`); // the page whose policy lets a script ask
  seen.read = await status(page, '/dicom-web/studies');
  seen.write = await status(page, '/dicom-web/studies/1.2.3', 'DELETE');
  await page.goto(`${archive}/`);
  await page.getByText('Log out').click();
  await page.getByRole('button', { name: 'Log out' }).click();
  await page.getByText('The session in this browser has ended.').waitFor();
  await page.goto(`${archive}/docs`);
  seen.after = await status(page, '/dicom-web/studies');
  await context.close();
  console.log(JSON.stringify(seen));
}

main().catch(error => { console.error(error); process.exit(1); });
