// What the page does in the browser beyond Gradio: focus, announcements, keyboard, addresses of the tabs.
() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  document.documentElement.lang = 'en'; // the texts of the page have one language

  // ---- announce statuses: the sentence at the end at once, progress now and then
  const live = document.createElement('div');
  live.id = 'live';
  live.setAttribute('role', 'status');
  live.setAttribute('aria-live', 'polite');
  document.body.append(live);
  let announced = 0;
  const announce = (status) => {
    const busy = status.matches('.busy');
    if (busy && Date.now() - announced < 5000) return;
    announced = Date.now();
    const text = status.innerText.trim();
    if (text && text !== live.textContent) live.textContent = text;
  };

  // ---- a start button gives the focus to the stop button of its tab, and gets it back
  const visible = (element) => element.getClientRects().length > 0;
  const panel = (element) => element.closest('[role=tabpanel]');
  let started = null;
  let running = false;
  document.addEventListener('click', (event) => {
    const button = event.target.closest('button.go');
    if (!button) return;
    started = button;
    running = false;
  });
  const moveFocus = (status) => {
    if (!started || panel(started) !== panel(status)) return;
    const stop = all('button.stop', panel(status)).find(visible);
    const lost = document.activeElement === document.body || document.activeElement === started;
    if (status.matches('.busy')) {
      running = true;
      if (stop && lost) stop.focus();
    } else if (running) {
      if (lost || document.activeElement.matches('button.stop')) started.focus();
      started = null;
    }
  };

  // ---- tabs: arrow keys, addresses
  const tabs = () => all('#tabs > .tab-wrapper [role=tab], #tabs [role=tablist] [role=tab]').filter(visible);
  const nameOf = (tab) => tab.id.replace(/^tab-/, '').replace(/-button$/, '');
  const rove = () => tabs().forEach((tab) => {
    tab.tabIndex = tab.getAttribute('aria-selected') === 'true' ? 0 : -1;
  });
  document.addEventListener('keydown', (event) => {
    const tile = event.target.closest('.tiles button');
    const group = tile ? all('button', tile.parentElement) : event.target.matches('[role=tab]') ? tabs() : [];
    const at = group.indexOf(tile || event.target);
    const to = {ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: group.length - 1}[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    const next = group[(to + group.length) % group.length];
    next.focus();
    if (!tile) next.click();
  });
  // one stop of the tab key for all tiles of a group
  const roveTiles = () => all('.tiles').forEach((group) => {
    const buttons = all('button', group);
    const current = buttons.find((b) => b === document.activeElement)
      || buttons.find((b) => b.getAttribute('aria-pressed') === 'true') || buttons[0];
    buttons.forEach((button) => { button.tabIndex = button === current ? 0 : -1; });
  });
  document.addEventListener('focusin', (event) => event.target.closest('.tiles') && roveTiles());
  let opening = false;
  document.addEventListener('click', (event) => {
    const tab = event.target.closest('[role=tab]');
    if (!tab || opening || !nameOf(tab)) return;
    history.pushState(null, '', `${location.pathname}${location.search}#${nameOf(tab)}`);
    rove();
  });
  const open = () => {
    const name = location.hash.slice(1) || 'stylize';
    const tab = tabs().find((each) => nameOf(each) === name);
    if (!tab || tab.getAttribute('aria-selected') === 'true') return;
    opening = true;
    tab.click();
    opening = false;
    rove();
  };
  addEventListener('popstate', open);

  // ---- names of controls that Gradio leaves without, or gives twice
  const name = () => {
    for (const [id, label] of [['content', 'content image'], ['style', 'style image'], ['video', 'video']]) {
      all(`#${id} button[aria-label], #${id} button[title]`).forEach((button) => {
        const own = button.getAttribute('aria-label') || button.title;
        if (!own.includes(label)) button.setAttribute('aria-label', `${own}: ${label}`);
      });
      all(`#${id} input[type=file]`).forEach((input) => input.setAttribute('aria-label', `Choose the ${label}`));
    }
    all('.empty[aria-label]').forEach((empty) => empty.setAttribute('role', 'img'));
  };

  let due = false;
  const update = () => {
    due = false;
    name();
    rove();
    roveTiles();
  };
  new MutationObserver((records) => {
    const changed = new Set(records.map((r) => (r.target.nodeType === 1 ? r.target : r.target.parentElement)));
    const statuses = new Set();
    changed.forEach((element) => {
      const line = element && element.closest('.status-line');
      if (line) statuses.add(line);
    });
    statuses.forEach((line) => {
      const status = line.querySelector('.status');
      if (!status) return;
      announce(status);
      moveFocus(status);
    });
    if (!due) {
      due = true;
      requestAnimationFrame(update);
    }
  }).observe(document.body, {subtree: true, childList: true, characterData: true});
  update();
  open();
}
