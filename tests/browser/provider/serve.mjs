// A provider of OpenID Connect as it is published: node serve.mjs PORT CALLBACK HOME [VIEWER].
// VIEWER is where OHIF is, a public client that gets access tokens for the archive itself.
// POST /rotate gives it another key. Anybody logs in with any password; the name is the subject.
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { generateKeyPairSync } from 'node:crypto';
import { pathToFileURL } from 'node:url';

const [port, callback, home, viewer] = process.argv.slice(2);
const place = createRequire(`${home}/package.json`).resolve('oidc-provider');
const { default: Provider } = await import(pathToFileURL(place));
const issuer = `http://127.0.0.1:${port}`;
const roles = ['viewer'];

function made(number) {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const key = { ...privateKey.export({ format: 'jwk' }), kid: `key-${number}`, use: 'sig', alg: 'RS256' };
  const provider = new Provider(issuer, {
    clients: [{
      client_id: 'fileroom', client_secret: 'a-secret-of-the-test', redirect_uris: [callback],
      grant_types: ['authorization_code', 'client_credentials'], response_types: ['code'],
    }, ...(viewer ? [{
      client_id: 'ohif', redirect_uris: [`${viewer}/callback`], token_endpoint_auth_method: 'none',
      application_type: 'native', grant_types: ['authorization_code'], response_types: ['code'],
    }] : [])],
    clientBasedCORS: (_, origin, client) => client.clientId === 'ohif' && origin === viewer,
    jwks: { keys: [key] },
    cookies: { keys: ['a-key-of-the-test'] },
    claims: { openid: ['sub', 'roles'], profile: ['name'], email: ['email'] },
    conformIdTokenClaims: false,
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, roles, name: id }) }),
    extraTokenClaims: () => ({ roles }),
    features: {
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: (_, client, oneOf) => (client.clientId === 'ohif' ? 'urn:fileroom' : oneOf),
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({
          scope: 'read', audience: 'fileroom', accessTokenTTL: 300, accessTokenFormat: 'jwt',
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
  });
  return provider.callback();
}

let number = 1, handle = made(number);
createServer((request, response) => {
  if (request.method === 'POST' && request.url === '/rotate') {
    handle = made(++number);
    response.end(`key-${number}`);
  } else handle(request, response);
}).listen(Number(port), '127.0.0.1', () => console.log('ready'));
