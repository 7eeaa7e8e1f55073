<?php

namespace App\Http\Controllers;

use Illuminate\Http\Request;
use Illuminate\Support\Facades\Auth;
use Illuminate\Support\Facades\Cookie;
use Laravel\Sanctum\PersonalAccessToken;

class SessionController
{
    public function create()
    {
        return view('login');
    }

    public function store(Request $request)
    {
        if (! Auth::attempt($request->only('name', 'password'))) {
            return response('wrong name or password', 401);
        }
        $request->session()->regenerate();

        // "12|Xb9…": 12 is the row's id, and no bearer token may have a |. Sanctum does without it.
        [, $token] = explode('|', $request->user()->createToken('notifications')->plainTextToken);
        $minutes = config('session.lifetime');

        return redirect('/')->withCookie(Cookie::make('notifications', $token, $minutes));
    }

    public function destroy(Request $request)
    {
        PersonalAccessToken::findToken($request->cookie('notifications', ''))?->delete();
        Auth::logout();
        $request->session()->invalidate();

        return redirect('/login')->withCookie(Cookie::forget('notifications'));
    }
}
