// A certified OpenID Connect provider for tests: the npm package oidc-provider on
// loopback. It reads its configuration as one JSON object from standard input,
// writes one line {"issuer": …} when it listens, and ends with its input.
import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';
import { createInterface } from 'node:readline';
import Provider from 'oidc-provider';

const lines = createInterface({ input: process.stdin });
const first = await new Promise((resolve) => lines.once('line', resolve));
const config = JSON.parse(first);
lines.on('close', () => process.exit(0));

const server = createServer();
await new Promise((resolve) => server.listen(config.port || 0, '127.0.0.1', resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;

const account = (id) => ({
  accountId: id,
  claims: async () => ({ sub: id, name: `${id} of the tests`, email: `${id}@example.com`, email_verified: true, groups: ['everybody'], ...config.accounts?.[id] }),
});

const provider = new Provider(issuer, {
  clients: config.clients,
  jwks: config.jwks,
  cookies: { keys: ['for tests only'] },
  scopes: ['openid', 'offline_access'],
  claims: { openid: ['sub', 'acr', 'amr', 'auth_time'], profile: ['name', 'groups'], email: ['email', 'email_verified'], sid: null, iss: null },
  acrValues: ['urn:test:password', 'urn:test:otp'],
  conformIdTokenClaims: !config.claimsInIDToken,
  findAccount: async (_, id) => account(id),
  features: {
    devInteractions: { enabled: false },
    backchannelLogout: { enabled: true },
    rpInitiatedLogout: { enabled: true },
    revocation: { enabled: true },
    userinfo: { enabled: true },
  },
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  // Whatever a client asks for is granted: these tests are about signing in.
  loadExistingGrant: async (ctx) => {
    const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
    grant.addOIDCScope('openid profile email offline_access');
    await grant.save();
    return grant;
  },
  issueRefreshToken: async (_, client) => client.grantTypeAllowed('refresh_token'),
  rotateRefreshToken: true,
  ttl: { AccessToken: config.accessTokenSeconds || 3600, IdToken: 3600, Session: 86400, Grant: 86400, Interaction: 3600, RefreshToken: 86400, AuthorizationCode: 60 },
  // The package's own guard refuses loopback addresses, which is where the clients are.
  fetch: (url, { dispatcher, ...options }) => fetch(url, options),
  renderError: (ctx, out) => { ctx.type = 'text'; ctx.body = JSON.stringify(out); },
});
for (const event of ['server_error', 'backchannel.error', 'grant.error', 'authorization.error']) {
  provider.on(event, (...args) => console.error(event, ...args.filter((a) => a instanceof Error).map((e) => `${e.message} ${e.error_description ?? ''} ${e.error_detail ?? ''}`)));
}

const callback = provider.callback();
let refreshes = 0;
server.on('request', async (req, res) => {
  const url = new URL(req.url, issuer);
  if (url.pathname === '/count') {
    res.end(JSON.stringify({ refreshes }));
    return;
  }
  if (url.pathname === '/token') {
    // How often refresh tokens are used; only their number matters.
    provider.once('grant.success', (ctx) => { if (ctx.oidc.params.grant_type === 'refresh_token') refreshes += 1; });
  }
  if (!url.pathname.startsWith('/interaction/')) {
    callback(req, res);
    return;
  }
  try {
    const details = await provider.interactionDetails(req, res);
    if (req.method === 'POST') {
      const form = new URLSearchParams(await text(req));
      const result = form.has('cancel')
        ? { error: 'access_denied', error_description: 'the visitor said no' }
        // ts is when the person signed in, where a test has that be long ago.
        : { login: { accountId: form.get('login'), acr: form.get('acr') || undefined, amr: form.get('amr')?.split(' ').filter(Boolean), ts: Number(form.get('ts')) || undefined } };
      await provider.interactionFinished(req, res, result, { mergeWithLastSubmission: false });
      return;
    }
    res.setHeader('Content-Type', 'text/html; charset=utf-8');
    res.end(`<!DOCTYPE html><html lang="en"><title>Provider</title><link rel="icon" href="data:,"><h1>Provider: ${details.prompt.name}</h1>
<form method="post"><label>Name <input name="login" autofocus></label><input type="hidden" name="amr" value="pwd"><label>Class <input name="acr" value="urn:test:password"></label><label>When <input name="ts"></label><button>Sign in</button><button name="cancel" value="1">Cancel</button></form>`);
  } catch (err) {
    res.statusCode = 500;
    res.end(String(err));
  }
});
console.log(JSON.stringify({ issuer }));
